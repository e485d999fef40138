-- Sensor readings as Nightscout has them: renamed, typed, each entry once.
with arrivals as (
  select *, {{ arrival_rank('_id') }} as arrival
  from {{ source('raw', 'glucose_entries') }}
  where _id is not null
    and sgv is not null
    and "date" is not null
    and coalesce(type, 'sgv') = 'sgv'
)

select
  _id as entry_id,
  sgv as glucose_mg_dl,
  -- `date` is the instant; date_string is how the uploader wrote it down, in whatever zone
  {{ from_epoch_ms('"date"') }} as reading_timestamp,
  direction,
  delta as delta_mg_dl,
  device,
  utc_offset as utc_offset_minutes,
  _phlo_partition_date as partition_date,
  current_timestamp as _transformed_at
from arrivals
where arrival = 1
