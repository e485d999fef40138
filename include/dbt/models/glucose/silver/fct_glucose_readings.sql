-- One row per reading, states of the sensor left out, with day, hour and category.
-- Categories after the consensus ranges: Battelino et al., Diabetes Care 2019;42(8):1593-1603. Both borders of
-- 70-180 mg/dL are in range; what lies between two whole numbers belongs to the higher category.
select
  entry_id,
  glucose_mg_dl,
  reading_timestamp,
  {{ day_of('reading_timestamp') }} as reading_date,
  {{ hour_of('reading_timestamp') }} as hour_of_day,
  direction,
  delta_mg_dl,
  device,
  case
    when glucose_mg_dl < 70 then 'hypoglycemia'
    when glucose_mg_dl <= 180 then 'in_range'
    when glucose_mg_dl <= 250 then 'hyperglycemia_mild'
    else 'hyperglycemia_severe'
  end as glucose_category,
  case when glucose_mg_dl between 70 and 180 then 1 else 0 end as is_in_range,
  partition_date,
  current_timestamp as _transformed_at
from {{ ref('stg_glucose_entries') }}
where {{ is_glucose('glucose_mg_dl') }}
