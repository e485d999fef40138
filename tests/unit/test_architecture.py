"""The order of the house: who may import whom, that nobody goes in a circle, and that every module has its line."""

from __future__ import annotations

import ast
import re

import pytest

from tests.import_graph import ROOT, circles, folder_graph, import_graph, imports, internal, longest_chain, modules

# one process reads all files, and does so once
pytestmark = pytest.mark.xdist_group("architecture")
MODULES = modules()

# From the top: a module imports what lies on lower floors. "name." is a folder with all that is in it; a module that
# is named by itself belongs where it is named. Modules of one floor import each other unless they stand apart.
# (settings and naming stand above the work, which takes plain values: a table's full name, a catalog, a path.)
FLOORS = (
    ("3c decorators", "", "decorators."),
    ("3b command line and plugins", "", "cli. plugins. ui."),
    ("3a operators", "apart", "operators. sensors. notifications. dbt.rendering.task_group publishing.marts"),
    (
        "3a what operators share",
        "apart",
        "operators.checking operators.table operators.rate_limits dbt.rendering.operators",
    ),
    ("3a what operators share", "apart", "operators.base operators.links operators.counters triggers."),
    ("3a what operators report to others", "", "operators.openlineage"),
    ("3a assets", "", "assets."),
    ("2 the hook that chooses among others", "", "hooks.warehouse"),
    ("2 hooks", "apart", "hooks."),
    (
        "1c what reads Airflow",
        "",
        "get_provider_info settings task_alerts without_airflow naming connections object_store",
    ),
    (
        "1b the work",
        "",
        "ingestion. dbt. publishing. lineage. sources. events. files. warehouse. airflow_api. "
        "materializing. services. scaffolding. diagnosis. metrics. run_logs. contracts. alerts. watching. servers. "
        "catalogs. extensions. serving. forgetting.",
    ),
    ("1a quality", "", "quality."),
    ("1a iceberg", "", "iceberg."),
    ("1a schemas", "", "schemas."),
    (
        "0 small things",
        "",
        "arrow_files contract_files exceptions broken_files cron durable_files exact_json failure_logs file_times "
        "formats installed_plugins library_errors model_errors plain_values printable_text private_files "
        "process registry runs sql sql_errors row_hash suggestions task_facts terms yaml_lines "
        "yaml_models",
    ),
)
AIRFLOW_FREE = [name for name, _, _ in FLOORS].index("1b the work")
# a wing's face names what others use of it, lazily where it lies higher
FACES = {"": set(), "dbt": {"dbt.rendering.task_group"}, "publishing": {"publishing.marts"}}


@pytest.fixture(scope="module")
def graph():
    return import_graph()


def floor(module: str) -> int:
    """Return the number of a module's floor, counted from the top."""
    for number, (_, _, rooms) in enumerate(FLOORS):
        if module in rooms.split():
            return number
    for number, (_, _, rooms) in enumerate(FLOORS):
        if any(f"{module}.".startswith(room) for room in rooms.split() if room.endswith(".")):
            return number
    raise AssertionError(f"{module} has no floor: give it one, here and in docs/architecture.md")


def test_the_walk_sees_the_package():
    assert {"decorators.quality", "operators.merge", "iceberg.merge.changes", "ingestion.landing"} <= MODULES.keys()
    assert "ingestion.staging" in internal(MODULES["hooks.dlt"], MODULES)


def test_every_name_in_the_order_exists():
    folders = {f"{module.rpartition('.')[0]}." for module in MODULES}
    named = {room for _, _, rooms in FLOORS for room in rooms.split()}
    assert named <= {*MODULES, *folders}


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_modules_import_only_what_lies_below(module):
    number = floor(module)
    for target in internal(MODULES[module], MODULES) - {module, ""} - FACES.get(module, set()):
        below = floor(target)
        beside = below == number and FLOORS[number][1] != "apart"
        assert below > number or beside, f"{module} ({FLOORS[number][0]}) imports {target} ({FLOORS[below][0]})"


@pytest.mark.parametrize("module", [module for module in MODULES if module and floor(module) >= AIRFLOW_FREE])
def test_the_work_imports_no_airflow(module):
    assert not {name for name in imports(MODULES[module]) if name.partition(".")[0] == "airflow"}


def test_nobody_goes_in_a_circle(graph):
    """Neither modules nor rooms: the folders, and the modules that lie beside them."""
    assert circles(graph) == []
    assert circles(folder_graph(graph)) == []


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []
    assert folder_graph({"x.a": {"y.b"}, "y.c": {"x.d"}, "x": {"x.a"}}) == {"x": {"y"}, "y": {"x"}}
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["a", "b", "d"]


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith(("cli", "plugins", "ui"))])
def test_command_line_and_pages_use_no_operators(module):
    assert not {name for name in internal(MODULES[module], MODULES) if name.startswith("operators")}


def test_only_the_lazy_root_imports_decorators(graph):
    inside = {name for name in MODULES if name.partition(".")[0] == "decorators"}
    assert not [module for module, targets in graph.items() if module and module not in inside and targets & inside]
    tree = ast.parse(MODULES[""].read_text())
    at_module_level = {node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))}
    assert "decorators" in internal(MODULES[""], MODULES)
    assert all(getattr(node, "module", "") in ("__future__", "typing") for node in at_module_level)


def test_every_module_has_one_line_in_the_docs():
    """``docs/architecture.md`` lists each module once, as ``| `iceberg.merge.keys` | subject |``, and no other."""
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    listed = re.findall(r"^\| `([a-z_.0-9]+)` \| \S", page, re.MULTILINE)
    faces = {module.rpartition(".")[0] for module in MODULES}
    assert sorted(listed) == sorted(set(MODULES) - faces)


def test_the_docs_have_every_floor():
    page = (ROOT.parent / "docs" / "architecture.md").read_text().partition("## Floors")[2].partition("\n## ")[0]
    rooms = {room.rstrip(".") for _, _, rooms in FLOORS for room in rooms.split()}
    assert {room for room in rooms if f"`{room}`" not in page} == set()


def test_every_face_says_what_its_wing_is_for():
    faces = {module.rpartition(".")[0] for module in MODULES} - {""}
    silent = [face for face in faces if not ast.get_docstring(ast.parse(MODULES[face].read_text()))]
    assert silent == []
