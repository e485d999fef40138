-- One row per reading of a pull request: normalised, with durations in seconds and sizes in lines and files.
with judged as (
  select
    *,
    coalesce("user".type = 'Bot' or ends_with("user".login, '[bot]'), false) as author_is_bot,
    [review for review in reviews if review.submitted_at is not null] as submitted,
    -- whose account is gone is a person; without the author's account too, it may be the author
    [
      review for review in submitted
      if not coalesce(review."user".type = 'Bot' or ends_with(review."user".login, '[bot]'), false)
      and review."user".id is distinct from "user".id
    ] as by_others,
    list_min([review.submitted_at for review in by_others]) as first_review_at,
    -- of a pull request whose files could not be listed, nothing is known
    files_complete or len(files) > 0 as has_sizes,
    case when has_sizes
      then cast(coalesce(list_sum([file.additions for file in files]), 0) as bigint)
    end as lines_added,
    case when has_sizes
      then cast(coalesce(list_sum([file.deletions for file in files]), 0) as bigint)
    end as lines_deleted,
    lines_added + lines_deleted as changed_lines
  from readings
)
select
  pull_request_key as row_key,
  pull_request_key,
  organization,
  repository,
  repository_id,
  number,
  updated_at,
  id,
  title,
  case when merged_at is null then state else 'merged' end as state,
  draft as is_draft,
  locked as is_locked,
  "user".login as author_login,
  "user".id as author_id,
  author_is_bot,
  author_association,
  base.ref as base_ref,
  head.ref as head_ref,
  head.repository as head_repository,
  head.repository_id <> repository_id as is_from_fork,
  labels,
  requested_reviewers,
  milestone,
  merge_commit_sha,
  html_url,
  created_at,
  closed_at,
  merged_at,
  first_review_at,
  seconds_between(created_at, first_review_at) as time_to_first_review,
  seconds_between(created_at, merged_at) as time_to_merge,
  seconds_between(created_at, closed_at) as time_to_close,
  len(submitted) as review_count,
  len(list_distinct([review."user".id for review in by_others])) as reviewer_count,
  len([review for review in submitted if review.state = 'APPROVED']) as approval_count,
  lines_added as additions,
  lines_deleted as deletions,
  changed_lines,
  case when has_sizes then len(files) end as changed_files,
  files_complete,
  case
    when changed_lines < 10 then 'XS'
    when changed_lines < 30 then 'S'
    when changed_lines < 100 then 'M'
    when changed_lines < 500 then 'L'
    when changed_lines < 1000 then 'XL'
    when changed_lines >= 1000 then 'XXL'
  end as size_class
from judged
