-- Reviews as they were loaded; `arrival` numbers repeats, 1 is the last.
select
  row_key as review_key,
  pull_request_key,
  review_id,
  reviewer_login,
  reviewer_is_bot,
  is_author,
  state,
  submitted_at,
  updated_at,
  {{ arrival_rank('row_key') }} as arrival,
  _phlo_partition_date as partition_date,
  current_timestamp as _transformed_at
from {{ source('raw', 'pull_request_reviews') }}
