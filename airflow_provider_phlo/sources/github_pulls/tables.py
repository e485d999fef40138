"""Which tables are loaded from the stage of pull requests; light enough for DAG files."""

from __future__ import annotations

from airflow_provider_phlo.warehouse.tables import StageTable

#: the folders in the stage: of what was read, and of how far it has been read
PREFIX, REPOSITORIES_PREFIX = "github", "github_repositories"
_MODELS = "airflow_provider_phlo.sources.github_pulls.models"

PULL_REQUEST_TABLES = (
    StageTable("pull_requests", "raw.pull_requests", ("row_key",), f"{_MODELS}:PullRequest", "updated_at"),
    StageTable("reviews", "raw.pull_request_reviews", ("row_key",), f"{_MODELS}:PullRequestReview", "updated_at"),
    StageTable("files", "raw.pull_request_files", ("row_key",), f"{_MODELS}:PullRequestFile", "updated_at"),
)
#: Written when the others are loaded: it says how far they are complete. The last one counts, whatever clocks say.
REPOSITORIES_TABLE = StageTable(
    "repositories", "raw.pull_request_repositories", ("row_key",), f"{_MODELS}:PullRequestRepository"
)
