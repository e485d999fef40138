-- One row per review of a reading.
with reviews_read as (
  select
    pull_request_key,
    identity('review', repository_id, number) as identity,
    organization,
    repository,
    repository_id,
    number,
    updated_at,
    "user",
    unnest(reviews) as review
  from readings
)
select
  sha256(concat(identity, review.id)) as row_key,
  pull_request_key,
  organization,
  repository,
  repository_id,
  number,
  updated_at,
  review.id as review_id,
  review."user".login as reviewer_login,
  review."user".id as reviewer_id,
  coalesce(review."user".type = 'Bot' or ends_with(review."user".login, '[bot]'), false) as reviewer_is_bot,
  coalesce(review."user".id = "user".id, false) as is_author,
  review.state as state,
  review.submitted_at as submitted_at,
  review.commit_id as commit_id,
  review.author_association as author_association
from reviews_read
