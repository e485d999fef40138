"""Where this adapter differs from what dbt's tests expect: docs/dbt.md has the same list."""

from __future__ import annotations

from typing import Any

import pytest
from dbt.tests.adapter.basic import expected_catalog as catalogs

EMPTY_SEEDS = "dbt-core 1.11 has no --empty for seeds"
MATERIALIZED_VIEWS = "DuckDB has no materialized views"
POSTGRES = "types and values are PostgreSQL's"
SPARK = "the models are written for Spark"
GRANTS = "the embedded catalog has no users"
CASCADE = "a view is kept as a table, which is not dropped with what it reads"
CLONES = "DuckDB cannot clone tables: dbt clone makes views, which are kept as tables"
VIEW = "BASE TABLE"  # a view is kept as a table


class Constraints:
    """DuckDB's names of types and its messages; foreign keys are not enforced, as the other table is a view."""

    @pytest.fixture
    def string_type(self) -> str:
        return "VARCHAR"

    @pytest.fixture
    def data_types(self, int_type: str, string_type: str) -> list[list[str]]:
        return [
            ["1", int_type, int_type],
            ["'1'", string_type, string_type],
            ["true", "bool", "BOOL"],
            ["'2013-11-03 00:00:00-07'::timestamptz", "timestamptz", "TIMESTAMP WITH TIME ZONE"],
            ["'2013-11-03 00:00:00-07'::timestamp", "timestamp", "TIMESTAMP"],
            ["ARRAY['a','b','c']", "text[]", "VARCHAR[]"],
            ["'1'::numeric", "numeric", "DECIMAL"],
        ]

    @pytest.fixture(scope="class")
    def expected_error_messages(self) -> list[str]:
        return ["NOT NULL constraint failed"]

    @pytest.fixture(scope="class", name="expected_sql")
    def without_foreign_keys(self, expected_sql: str) -> str:
        expected_sql = expected_sql.replace(" references <foreign_key_model_identifier> (id)", "")
        return expected_sql.replace(",\n    foreign key (id)", "").replace(", foreign key (id)", "")


class SqlHeader:
    """DuckDB's statement for the time zone."""

    @pytest.fixture(scope="class", name="models")
    def with_duckdb(self, models: dict[str, str]) -> dict[str, str]:
        return {name: text.replace("set session time zone", "set TimeZone =") for name, text in models.items()}


class WithoutOffset:
    """DuckDB's timestamps without a zone have no offset."""

    @pytest.fixture(scope="class", name="input_model_sql")
    def without_offset(self, input_model_sql: str) -> str:
        return input_model_sql.replace("-0'", "'")


class Microbatch(WithoutOffset):
    """As :class:`WithoutOffset`."""

    @pytest.fixture(scope="class", name="insert_two_rows_sql")
    def without_offset_either(self, insert_two_rows_sql: str) -> str:
        return insert_two_rows_sql.replace("-0'", "'")


class UnitTestingTypes:
    """As :class:`WithoutOffset`."""

    @pytest.fixture(name="data_types")
    def without_offset(self, data_types: list[list[str]]) -> list[list[str]]:
        return [[text.replace(":00-0", ":00+00" if "TZ" in row[0] else ":00") for text in row] for row in data_types]


class Hooks:
    """What hooks know of this target: it has neither a host nor a user."""

    get_ctx_vars: Any

    def check_hooks(self, state: str, project: Any, host: str | None, count: int = 1) -> None:
        for context in self.get_ctx_vars(state, count=count, project=project):
            check_context(context, state, project)
            assert context["thread_id"].startswith("Thread-")


class RunHooks:
    """As :class:`Hooks`, of a whole run."""

    get_ctx_vars: Any

    def check_hooks(self, state: str, project: Any, host: str | None) -> None:
        context = self.get_ctx_vars(state, project)
        check_context(context, state, project)
        assert context["thread_id"].startswith(("Thread-", "MainThread"))


def check_context(context: dict[str, Any], state: str, project: Any) -> None:
    """Check what a hook has stored."""
    assert context["test_state"] == state
    assert (context["target_name"], context["target_schema"]) == ("default", project.test_schema)
    assert (context["target_type"], context["target_threads"]) == ("phlo", 4)
    assert (context["target_host"] or "", context["target_user"] or "", context["target_pass"]) == ("", "", "")
    assert context["run_started_at"]
    assert context["invocation_id"]


class DocsGenerate:
    """DuckDB's types, and views that are tables."""

    @pytest.fixture(scope="class")
    def expected_catalog(self, project: Any) -> Any:
        return catalogs.base_expected_catalog(project, view_type=VIEW, **TYPES)


class DocsGenReferences:
    """As :class:`DocsGenerate`."""

    @pytest.fixture(scope="class")
    def expected_catalog(self, project: Any) -> Any:
        return catalogs.expected_references_catalog(project, bigint_type="BIGINT", view_type=VIEW, **TYPES)


TYPES: dict[str, Any] = {
    **{"role": None, "id_type": "INTEGER", "text_type": "VARCHAR", "time_type": "TIMESTAMP"},
    **{"table_type": "BASE TABLE", "model_stats": catalogs.no_stats()},
}

#: by class of the package: what it expects in DuckDB's terms
IN_DUCKDB: dict[str, type] = {
    "BaseTableConstraintsColumnsEqual": Constraints,
    "BaseViewConstraintsColumnsEqual": Constraints,
    "BaseIncrementalConstraintsColumnsEqual": Constraints,
    "BaseConstraintsRuntimeDdlEnforcement": Constraints,
    "BaseIncrementalConstraintsRuntimeDdlEnforcement": Constraints,
    "BaseModelConstraintsRuntimeEnforcement": Constraints,
    "BaseConstraintsRollback": Constraints,
    "BaseIncrementalConstraintsRollback": Constraints,
    "BaseTableContractSqlHeader": SqlHeader,
    "BaseIncrementalContractSqlHeader": SqlHeader,
    "BaseMicrobatch": Microbatch,
    "BasePythonEmptyTests": WithoutOffset,
    "BasePythonSampleTests": WithoutOffset,
    "BaseSampleModeTest": WithoutOffset,
    "BaseUnitTestingTypes": UnitTestingTypes,
    **dict.fromkeys(
        (
            *("BasePrePostModelHooks", "BaseHookRefs", "BasePrePostModelHooksInConfig"),
            *("BasePrePostModelHooksInConfigWithCount", "BasePrePostModelHooksInConfigKwargs"),
        ),
        Hooks,
    ),
    "BasePrePostRunHooks": RunHooks,
    "BaseDocsGenerate": DocsGenerate,
    "BaseDocsGenReferences": DocsGenReferences,
}

#: classes without models of their own, that others make complete
ABSTRACT = frozenset({"BaseConstraintsColumnsEqual", "BaseContractSqlHeader"})

#: by class, or class and test: why it fails
DIFFERENCES: dict[str, str] = {
    "BaseEphemeralMulti": "the text has the name of another database",
    "BaseEphemeralNested": "the text has the name of another database",
    "BaseAfterRunHooks": "dbt-duckdb raises another class of error: DbtRuntimeError",
    "BaseGetCatalogForSingleRelation": "dbt-duckdb has no catalog of a single relation",
    "BaseTestEmptySeedFlag.test_seed_empty_creates_table_with_zero_rows": EMPTY_SEEDS,
    "BaseTestEmptySeedFlag.test_seed_empty_preserves_column_types": EMPTY_SEEDS,
    "BaseTestEmptySeedFlag.test_build_empty_with_seed": EMPTY_SEEDS,
    "BaseSeedSpecificFormats": "a table's name has no dots in the catalog",
    "BaseSimpleSeedColumnOverride": POSTGRES,
    "BaseSimpleCopyUppercase": "the profile is PostgreSQL's",
    "BaseBasicSeedTests.test_simple_seed_full_refresh_flag": CASCADE,
    "BaseSeedConfigFullRefreshOn.test_simple_seed_full_refresh_config": CASCADE,
    "BaseClonePossible.test_can_clone_true": CLONES,
    "BaseCloneNotPossible": CLONES,
    "BaseCloneSameSourceAndTarget": CLONES,
    "SimpleCopyBase.test_simple_copy_with_materialized_views": MATERIALIZED_VIEWS,
    "CatalogRelationTypes": MATERIALIZED_VIEWS,
    "MaterializedViewBasic": MATERIALIZED_VIEWS,
    "BasePythonIncrementalTests": SPARK,
    "BasePythonMetaGetTests": SPARK,
    "BasePySparkTests": SPARK,
    "BaseIncrementalGrants": GRANTS,
    "BaseInvalidGrants": GRANTS,
    "BaseModelGrants": GRANTS,
    "BaseSeedGrants": GRANTS,
    "BaseSnapshotGrants": GRANTS,
}
