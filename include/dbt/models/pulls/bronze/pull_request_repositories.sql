-- Repositories as they were loaded, with how far each has been read; `arrival` numbers repeats, 1 is the last.
select
  row_key as repository_key,
  organization,
  repository,
  repository_id,
  is_archived,
  complete_until,
  left_out,
  left_out_pull_requests,
  read_at,
  {{ arrival_rank('row_key') }} as arrival,
  _phlo_partition_date as partition_date,
  current_timestamp as _transformed_at
from {{ source('raw', 'pull_request_repositories') }}
