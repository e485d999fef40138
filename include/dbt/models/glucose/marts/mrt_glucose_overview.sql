-- One row per day for dashboards; the 7-day average covers the trailing seven calendar days, this one included,
-- and those of them that have readings. A day on which the sensor reported nothing but its state has a row too.
with sensor_states as (
  select
    {{ day_of('reading_timestamp') }} as reading_date,
    count(*) as sensor_state_count
  from {{ ref('stg_glucose_entries') }}
  where not {{ is_glucose('glucose_mg_dl') }}
  group by 1
)

select
  coalesce(daily.reading_date, sensor_states.reading_date) as reading_date,
  coalesce(daily.reading_count, 0) as reading_count,
  coalesce(sensor_states.sensor_state_count, 0) as sensor_state_count,
  daily.avg_glucose_mg_dl,
  daily.stddev_glucose_mg_dl,
  daily.min_glucose_mg_dl,
  daily.max_glucose_mg_dl,
  daily.cv_pct,
  daily.time_in_range_pct,
  daily.time_below_range_pct,
  daily.time_above_range_pct,
  daily.estimated_a1c_pct,
  avg(daily.estimated_a1c_pct) over (
    order by coalesce(daily.reading_date, sensor_states.reading_date)
    range between interval '6' day preceding and current row
  ) as estimated_a1c_7d_avg,
  daily.gmi_pct,
  daily.time_very_low_pct,
  daily.time_very_high_pct,
  current_timestamp as _transformed_at
from {{ ref('fct_daily_glucose_metrics') }} as daily
full join sensor_states on sensor_states.reading_date = daily.reading_date
