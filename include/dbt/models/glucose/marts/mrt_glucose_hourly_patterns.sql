-- One row an hour of the day, over all days; percentiles as an ambulatory glucose profile shows them.
with readings as (
  select
    *,
    row_number() over (partition by hour_of_day order by glucose_mg_dl) as place,
    count(*) over (partition by hour_of_day) as readings_of_hour
  from {{ ref('fct_glucose_readings') }}
),

hours as (
  select
    hour_of_day,
    max(readings_of_hour) as reading_count,
    count(distinct reading_date) as day_count,
    {{ mean('glucose_mg_dl') }} as avg_glucose_mg_dl,
    {{ sample_stddev('glucose_mg_dl') }} as stddev_glucose_mg_dl,
    min(glucose_mg_dl) as min_glucose_mg_dl,
    max(glucose_mg_dl) as max_glucose_mg_dl,
    {{ percent_of_rows('is_in_range = 1') }} as time_in_range_pct,
    {{ percent_of_rows('glucose_mg_dl < 70') }} as time_below_range_pct,
    {{ percent_of_rows('glucose_mg_dl > 180') }} as time_above_range_pct,
    {{ percentile_by_place('glucose_mg_dl', 'place', 'readings_of_hour', 5) }} as p05_glucose_mg_dl,
    {{ percentile_by_place('glucose_mg_dl', 'place', 'readings_of_hour', 25) }} as p25_glucose_mg_dl,
    {{ median_by_place('glucose_mg_dl', 'place', 'readings_of_hour') }} as median_glucose_mg_dl,
    {{ percentile_by_place('glucose_mg_dl', 'place', 'readings_of_hour', 75) }} as p75_glucose_mg_dl,
    {{ percentile_by_place('glucose_mg_dl', 'place', 'readings_of_hour', 95) }} as p95_glucose_mg_dl
  from readings
  group by hour_of_day
)

select
  *,
  current_timestamp as _transformed_at
from hours
