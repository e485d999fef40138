-- The key of each reading's pull request, which all of its rows have.
select sha256(identity('pull_request', repository_id, number)) as pull_request_key
from readings
