-- Each pull request once, under the name that its repository has now, with its days in the day zone. One that was imported
-- may say that it was reviewed, merged or closed before it was opened: it ends in the week of its opening, and how long it
-- took is not known.
select
  pulls.pull_request_key,
  coalesce(repositories.organization, pulls.organization) as organization,
  coalesce(repositories.repository, pulls.repository) as repository,
  pulls.repository_id,
  pulls.number,
  pulls.title,
  pulls.state,
  coalesce(pulls.is_draft, false) as is_draft,
  pulls.author_login,
  pulls.author_is_bot,
  pulls.created_at,
  pulls.updated_at,
  pulls.closed_at,
  pulls.merged_at,
  {{ week_of('pulls.created_at') }} as created_week,
  case when pulls.merged_at is not null then greatest({{ week_of('pulls.merged_at') }}, {{ week_of('pulls.created_at') }}) end
    as merged_week,
  case when pulls.closed_at is not null then greatest({{ week_of('pulls.closed_at') }}, {{ week_of('pulls.created_at') }}) end
    as closed_week,
  pulls.first_review_at,
  case when pulls.time_to_first_review >= 0 then pulls.time_to_first_review end as time_to_first_review,
  case when pulls.time_to_merge >= 0 then pulls.time_to_merge end as time_to_merge,
  pulls.review_count,
  pulls.reviewer_count,
  pulls.changed_lines,
  pulls.changed_files,
  pulls.files_complete,
  pulls.size_class,
  repositories.read_at,
  -- that some of its pull requests could not be read says nothing of the others
  repositories.left_out is null or coalesce(repositories.left_out_pull_requests, 0) > 0 as is_readable,
  current_timestamp as _transformed_at
from {{ ref('pull_requests') }} as pulls
left join {{ ref('pull_request_repositories') }} as repositories
  on repositories.repository_id = pulls.repository_id and repositories.arrival = 1
where pulls.arrival = 1
