-- Profiles as GitHub sends them.
select
  id as user_id,
  login,
  name,
  company,
  location,
  bio,
  blog,
  html_url,
  public_repos,
  public_gists,
  followers,
  "following",
  created_at,
  updated_at,
  {{ arrival_rank('id') }} as arrival,
  _phlo_partition_date as partition_date,
  current_timestamp as _transformed_at
from {{ source('raw', 'user_profile') }}
