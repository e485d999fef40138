"""Packages with plugins, as installers leave them, without an installer: modules, and their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

EXAMPLE = Path(__file__).parents[1] / "plugins" / "phlo-plugin-example"


def install(
    folder: Path,
    package: str,
    entry_points: Mapping[str, Mapping[str, str]],
    code: str = "",
    *,
    version: str = "1.0",
    about: str = "Tries things out.",
) -> None:
    """
    Put a package into a folder that is on Python's path.

    :param entry_points: group → name → reference.
    :param code: of its module, which is called as the package is.
    """
    folder.mkdir(exist_ok=True)
    module = package.replace("-", "_")
    if code:
        (folder / f"{module}.py").write_text(dedent(code))
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.4\nName: {package}\nVersion: {version}\nSummary: {about}\n"
    (metadata / "METADATA").write_text(f"{head}\nName: not this, it is the description\n")
    lines = [
        line
        for group, names in entry_points.items()
        for line in (f"[{group}]", *(f"{name} = {reference}" for name, reference in names.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def install_example(folder: Path) -> None:
    """Put the example package into a folder, with the entry points of its pyproject.toml."""
    import tomllib

    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    folder.mkdir(exist_ok=True)
    (folder / "phlo_example").symlink_to(EXAMPLE / "phlo_example")
    install(
        folder,
        project["name"],
        {group: {str(name): text for name, text in names.items()} for group, names in project["entry-points"].items()},
        version=project["version"],
        about=project["description"],
    )
