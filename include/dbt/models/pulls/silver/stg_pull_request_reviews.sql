-- Each submitted review once, if its pull request still has it.
select
  reviews.review_key,
  reviews.pull_request_key,
  reviews.review_id,
  reviews.reviewer_login,
  reviews.reviewer_is_bot,
  reviews.is_author,
  reviews.state,
  reviews.submitted_at,
  {{ week_of('reviews.submitted_at') }} as submitted_week,
  pulls.repository_id,
  pulls.repository,
  pulls.organization,
  current_timestamp as _transformed_at
from {{ ref('pull_request_reviews') }} as reviews
inner join {{ ref('stg_pull_requests') }} as pulls
  on pulls.pull_request_key = reviews.pull_request_key and pulls.updated_at = reviews.updated_at
where reviews.arrival = 1
  and reviews.submitted_at is not null
