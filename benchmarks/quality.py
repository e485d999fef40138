"""
What trust costs: checks, validation with accounting and quarantine, reconciliation and drift, beside their peers.

Each part says in its own module what it measures and against what. ``python benchmarks/quality.py checks drift`` runs
some of them, ``--rows 100000`` tries them out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import checks, drift, reconciliation, validation
from benchmarks.report import versions, write_section

PARTS = {
    "checks": checks.SECTION,
    "validation": validation.SECTION,
    "reconciliation": reconciliation.SECTION,
    "drift": drift.SECTION,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int, help="instead of each part's own number")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--keep", action="store_true", help="write the results to docs/benchmarks.md")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    found = {}
    for name in arguments.parts or PARTS:
        part, used = PARTS[name], versions(*PARTS[name].packages)
        rows = arguments.rows or part.rows
        with tempfile.TemporaryDirectory() as folder:
            figures = part.measure(Path(folder), rows, arguments.repeat)
        found[name] = {"versions": used, "rows": rows, "figures": figures}
        if arguments.output == "table":
            print(f"{part.title}: {part.about(rows, arguments.repeat)}\n\n{part.table(figures)}\n", flush=True)
        if arguments.keep:
            body = f"{part.about(rows, arguments.repeat)}\n\n{part.table(figures)}"
            write_section(part.title, f"python benchmarks/quality.py {name} --keep", body, used)
    if arguments.output == "json":
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
