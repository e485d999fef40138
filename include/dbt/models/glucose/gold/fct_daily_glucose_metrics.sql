-- One row per day that has readings.
with daily as (
  select
    reading_date,
    count(*) as reading_count,
    {{ mean('glucose_mg_dl') }} as avg_glucose_mg_dl,
    {{ sample_stddev('glucose_mg_dl') }} as stddev_glucose_mg_dl,
    min(glucose_mg_dl) as min_glucose_mg_dl,
    max(glucose_mg_dl) as max_glucose_mg_dl,
    {{ percent_of_rows('is_in_range = 1') }} as time_in_range_pct,
    {{ percent_of_rows('glucose_mg_dl < 70') }} as time_below_range_pct,
    {{ percent_of_rows('glucose_mg_dl > 180') }} as time_above_range_pct,
    {{ percent_of_rows('glucose_mg_dl < 54') }} as time_very_low_pct,
    {{ percent_of_rows('glucose_mg_dl > 250') }} as time_very_high_pct
  from {{ ref('fct_glucose_readings') }}
  group by reading_date
)

select
  *,
  100e0 * stddev_glucose_mg_dl / avg_glucose_mg_dl as cv_pct,
  -- estimated A1C: the ADAG line, average glucose = 28.7 * A1C - 46.7, solved for A1C.
  -- Nathan et al., Diabetes Care 2008;31(8):1473-1478
  (avg_glucose_mg_dl + 46.7e0) / 28.7e0 as estimated_a1c_pct,
  -- glucose management indicator: Bergenstal et al., Diabetes Care 2018;41(11):2275-2280
  3.31e0 + 0.02392e0 * avg_glucose_mg_dl as gmi_pct,
  current_timestamp as _transformed_at
from daily
