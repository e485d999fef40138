-- One row per day that has events.
select
  activity_date,
  count(*) as total_events,
  {% for kind in ['push', 'pull_request', 'review', 'issue', 'comment', 'star', 'fork', 'create', 'delete', 'release', 'other'] -%}
  count(*) filter (where event_kind = '{{ kind }}') as {{ kind }}_events,
  {% endfor -%}
  count(distinct repo_id) as distinct_repos,
  current_timestamp as _transformed_at
from {{ ref('fct_github_events') }}
group by activity_date
