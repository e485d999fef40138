"""
The import graph of the package, as its syntax trees show it: ``python -m tests.import_graph`` prints its figures.

An import counts at whatever depth it stands; those for type checkers only bind nothing and do not count.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = "airflow_provider_phlo"
ROOT = Path(__file__).parents[1] / PACKAGE

Graph = Mapping[str, set[str]]


def module_of(path: Path, root: Path = ROOT) -> str:
    """Return the module in a file, without the name of the package; a folder's face has the name of the folder."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the file of every module."""
    return {module_of(path, root): path for path in sorted(root.rglob("*.py"))}


@cache
def imports(path: Path) -> frozenset[str]:
    """Return every name that a file imports, such as ``package.module.name``."""
    tree = ast.parse(path.read_text())
    typing_only = {id(node) for guard in ast.walk(tree) if _is_typing_guard(guard) for node in ast.walk(guard)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _is_typing_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def internal(path: Path, known: Mapping[str, Path]) -> set[str]:
    """Return the modules of the package that a file imports: ``package.module.name`` means ``module``."""
    names = {name.removeprefix(f"{PACKAGE}.") for name in imports(path) if name.startswith(f"{PACKAGE}.")}
    return {name if name in known else name.rpartition(".")[0] for name in names}


def import_graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Return for each module those that it imports; the package's root imports what it names only when it is asked."""
    known = modules(root)
    return {module: internal(path, known) - {module} if module else set() for module, path in known.items()}


def folder_graph(graph: Graph) -> dict[str, set[str]]:
    """Return for each folder (or module beside the folders) those whose modules its own import; faces left aside."""
    faces = {name.rpartition(".")[0] for name in graph} - {""}
    found: dict[str, set[str]] = {}
    for module, targets in graph.items():
        if module in faces or not module:
            continue
        room = module.rpartition(".")[0] or module
        rooms = {target if target in faces else target.rpartition(".")[0] or target for target in targets}
        found.setdefault(room, set()).update(rooms - {room})
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Return the sets of nodes that reach each other (strongly connected components, by Tarjan's algorithm)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lowest[node] = len(numbers)
        path.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in numbers:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in path:
                lowest[node] = min(lowest[node], numbers[target])
        if lowest[node] == numbers[node]:
            component = path[path.index(node) :]
            del path[path.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


def longest_chain(graph: Graph) -> list[str]:
    """Return the longest way down; of modules in a circle, one counts."""
    member = {node: component[0] for component in circles(graph) for node in component}

    def of(node: str) -> str:
        return member.get(node, node)

    below: dict[str, set[str]] = {}
    for node, targets in graph.items():
        below.setdefault(of(node), set()).update({of(target) for target in targets} - {of(node)})

    @cache
    def chain(node: str) -> tuple[str, ...]:
        return (node, *max((chain(target) for target in sorted(below.get(node, ()))), key=len, default=()))

    return list(max(map(chain, sorted(below)), key=len, default=()))


def figures(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Yield what is counted, and how much it is."""
    graph = import_graph(root)
    folders = {path.parent for path in modules(root).values()}
    per_folder = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    largest = max(per_folder, key=lambda folder: (per_folder[folder], folder))
    chain = longest_chain(graph)
    yield "modules", str(len(graph))
    yield "folders", str(len(folders))
    yield "modules at the root", str(per_folder[root])
    yield "largest folder", f"{largest.relative_to(root.parent)} ({per_folder[largest]})"
    yield "imports between modules", str(sum(map(len, graph.values())))
    yield "longest chain", f"{len(chain)}: {' → '.join(name or PACKAGE for name in chain)}"
    yield "circles of modules", _text(circles(graph))
    yield "circles of folders", _text(circles(folder_graph(graph)))


def _text(found: list[list[str]]) -> str:
    return f"{len(found)}" + "".join(f"; {', '.join(component)}" for component in found)


if __name__ == "__main__":
    for name, value in figures(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT):
        print(f"{name}: {value}")
