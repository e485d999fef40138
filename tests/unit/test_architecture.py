"""Who may import whom: the layers of the design, held by a walk over the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_phlo"
ROOT = Path(__file__).parents[2] / PACKAGE

# A module belongs to the layer that names it, else to that of its folder ("name."). It may import what lies in lower
# layers, and in its own where the second column says so. (publishing's root is what DAG authors call; see its folder.)
LAYERS = [
    (0, True, '"" exceptions sql registry services'),
    (1, True, "schemas. accounting records row_hash staging processes"),
    (2, True, "iceberg."),
    (3, True, "quality."),
    (
        4,
        True,
        "sources. extraction ingestion landing quarantine rejects transforms publishing. "
        "embedded_postgres dbt_manifest dbt_plugin dbt_runner",
    ),
    (5, True, "airflow_api embedded demo demo_report"),
    # from here on Airflow-facing; what reads its configuration is below everything that uses it
    (6, True, "get_provider_info settings naming runs audits assets. publishing connections object_store"),
    (7, False, "hooks."),
    (8, False, "operators.base operators.links triggers."),
    (9, False, "operators.checking"),
    (10, False, "operators. sensors. notifications. dbt"),
    (10, True, "cli. plugins. ui."),
    (11, False, "decorators"),
]
AIRFLOW_FACING = 6


def layer(module: str) -> tuple[int, bool]:
    for fits in (str.__eq__, lambda name, pattern: pattern.endswith(".") and f"{name}.".startswith(pattern)):
        for number, own, patterns in LAYERS:
            if any(fits(module or '""', pattern) for pattern in patterns.split()):
                return number, own
    raise AssertionError(f"{module} has no layer: give it one, in DESIGN.md and here")


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, at whatever depth; type checking's imports bind nothing."""
    tree = ast.parse(path.read_text())
    typing_only = {id(node) for guard in ast.walk(tree) if is_typing_guard(guard) for node in ast.walk(guard)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def internal(path: Path) -> set[str]:
    """Return the modules of the package that a file imports: ``package.module.name`` means ``module``."""
    names = {name.removeprefix(f"{PACKAGE}.") for name in imports(path) if name.startswith(f"{PACKAGE}.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def test_the_walk_sees_the_package():
    assert {"", "decorators", "operators.merge", "iceberg.merge", "landing"} <= MODULES.keys()
    assert "ingestion" in internal(MODULES["hooks.dlt"])


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_lies_below(module):
    if module == "":
        return  # the package root is lazy, see below
    number, own = layer(module)
    for target in internal(MODULES[module]):
        below, _ = layer(target)
        assert target != "decorators", f"{module} imports decorators: nothing does"
        assert below < number or (below == number and own), f"{module} (layer {number}) imports {target} ({below})"
        if number < AIRFLOW_FACING:
            assert below < AIRFLOW_FACING, f"{module} works without Airflow, and {target} does not"


@pytest.mark.parametrize("module", MODULES)
def test_the_work_imports_no_airflow(module):
    airflow = {name for name in imports(MODULES[module]) if name.partition(".")[0] == "airflow"}
    assert layer(module)[0] >= AIRFLOW_FACING or not airflow


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(("cli", "plugins", "ui"))])
def test_command_line_and_pages_use_no_operators(module):
    assert not {name for name in internal(MODULES[module]) if name.startswith("operators")}


def test_only_the_lazy_root_imports_decorators():
    tree = ast.parse(MODULES[""].read_text())
    at_module_level = {node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))}
    assert "decorators" in internal(MODULES[""])
    assert all(getattr(node, "module", "") in ("__future__", "typing") for node in at_module_level)
