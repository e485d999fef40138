-- One row per day for dashboards; the 7-day average covers the trailing seven calendar days, this one included,
-- and those of them that have readings.
select
  reading_date,
  reading_count,
  avg_glucose_mg_dl,
  stddev_glucose_mg_dl,
  min_glucose_mg_dl,
  max_glucose_mg_dl,
  cv_pct,
  time_in_range_pct,
  time_below_range_pct,
  time_above_range_pct,
  estimated_a1c_pct,
  avg(estimated_a1c_pct) over (
    order by reading_date range between interval '6' day preceding and current row
  ) as estimated_a1c_7d_avg,
  gmi_pct,
  current_timestamp as _transformed_at
from {{ ref('fct_daily_glucose_metrics') }}
