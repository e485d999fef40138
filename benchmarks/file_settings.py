"""
Why data files are zstd level 1 with dictionaries for columns that repeat: time and size of each codec.

One data file of the merge benchmark (33,334 rows of 10 columns) is written and read by pyarrow, in one thread, with
each setting in turn; the best of ``--repeat`` counts, so that noise of the machine does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pyarrow.parquet as pq

from airflow_provider_phlo.iceberg.files.writing import _worth_a_dictionary
from benchmarks.merge import PER_DAY, rows
from benchmarks.report import versions, write_section

CODECS: tuple[tuple[str, int | None], ...] = (("zstd", 1), ("zstd", 3), ("lz4", None), ("snappy", None), ("none", None))


def measure(repeat: int) -> list[tuple[str, str, float, float, float]]:
    content = rows(np.arange(PER_DAY), np.zeros(PER_DAY, int), seed=1)
    settings: list[tuple[str, str, dict[str, Any]]] = [
        (
            f"{codec} {level or ''}".strip(),
            name,
            {"compression": codec, "compression_level": level, "use_dictionary": use},
        )
        for codec, level in CODECS
        for name, use in (("all columns", True), ("that repeat", _worth_a_dictionary(content)))
    ]
    found = {(codec, name): [9.0, 9.0, 0.0] for codec, name, _ in settings}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.parquet"
        for _ in range(repeat):
            for codec, name, options in settings:
                best = found[codec, name]
                started = time.perf_counter()
                pq.write_table(content, path, **options)
                written = time.perf_counter()
                pq.read_table(path, use_threads=False)
                best[0] = min(best[0], written - started)
                best[1] = min(best[1], time.perf_counter() - written)
                best[2] = path.stat().st_size / 1e6
    return [(codec, name, write, read, size) for (codec, name), (write, read, size) in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--keep", action="store_true", help="write the results to docs/benchmarks.md")
    arguments = parser.parse_args()
    lines = ["| codec | dictionaries for | write ms | read ms | MB |", "|---|---|--:|--:|--:|"]
    lines += [
        f"| {codec} | {name} | {write * 1000:.1f} | {read * 1000:.1f} | {size:.2f} |"
        for codec, name, write, read, size in measure(arguments.repeat)
    ]
    print("\n".join(lines))
    if arguments.keep:
        body = f"One file of 33,334 rows of 10 columns; best of {arguments.repeat}.\n\n" + "\n".join(lines)
        write_section("File settings", "python benchmarks/file_settings.py --keep", body, versions("pyarrow"))


if __name__ == "__main__":
    main()
