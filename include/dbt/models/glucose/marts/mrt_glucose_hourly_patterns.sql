-- One row an hour of the day, over all days.
select
  hour_of_day,
  count(*) as reading_count,
  count(distinct reading_date) as day_count,
  {{ mean('glucose_mg_dl') }} as avg_glucose_mg_dl,
  {{ sample_stddev('glucose_mg_dl') }} as stddev_glucose_mg_dl,
  min(glucose_mg_dl) as min_glucose_mg_dl,
  max(glucose_mg_dl) as max_glucose_mg_dl,
  {{ percent_of_rows('is_in_range = 1') }} as time_in_range_pct,
  {{ percent_of_rows('glucose_mg_dl < 70') }} as time_below_range_pct,
  {{ percent_of_rows('glucose_mg_dl > 180') }} as time_above_range_pct,
  current_timestamp as _transformed_at
from {{ ref('fct_glucose_readings') }}
group by hour_of_day
