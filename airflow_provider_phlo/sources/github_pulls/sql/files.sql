-- One row per changed file of a reading.
with files_read as (
  select
    pull_request_key,
    identity('file', repository_id, number) as identity,
    organization,
    repository,
    repository_id,
    number,
    updated_at,
    unnest(files) as file
  from readings
)
select
  -- a path that is listed again is another row
  sha256(
    concat(identity, file.filename, case when file.occurrence > 1 then concat(chr(31), file.occurrence) end)
  ) as row_key,
  pull_request_key,
  organization,
  repository,
  repository_id,
  number,
  updated_at,
  file.filename as filename,
  file.status as status,
  file.previous_filename as previous_filename,
  file.sha as sha,
  file.additions as additions,
  file.deletions as deletions,
  file.changes as changes
from files_read
