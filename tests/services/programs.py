"""
The programs that the heavier suites start, each fetched on first use: which, and of which version.

``python -m tests.services.programs`` fetches all of them, which CI does while one core is left to it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tests.services import downloads

TRINO = "476"  # the newest that is published as one archive; writes delete files that PyIceberg reads
NESSIE = "org.projectnessie.nessie:nessie-quarkus:0.99.0:jar:runner"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
GCS = ("gcp-storage-emulator==2026.7.19",)
FAKESNOW = ("fakesnow[server]==0.12.1", "snowflake-connector-python==4.8.1")
DATAFUSION = "55.0.0"
# its wheel names neither cachetools nor rich, which it imports, and does not work with a newer flask-caching
SUPERSET = ("apache-superset==6.1.0", "psycopg2-binary==2.9.13", "cachetools<7", "flask-caching==2.3.1", "rich<15")
PLAYWRIGHT = ("playwright==1.65.2",)


def trino() -> Path:
    """Return the folder with Trino's ``server`` and its ``plugins``."""
    return downloads.unpacked(
        f"trino-{TRINO}",
        {
            "server": f"io.trino:trino-server-core:{TRINO}:tar.gz",
            "plugins/iceberg": f"io.trino:trino-iceberg:{TRINO}:zip",
        },
    )


def nessie() -> Path:
    """Return Nessie's jar."""
    return downloads.jar(NESSIE)


def versitygw() -> Path:
    """Return the S3 server."""
    return downloads.go_program(*VERSITYGW)


def gcs() -> Path:
    """Return the emulator of Google Cloud Storage."""
    return downloads.python_program("gcp-storage-emulator", *GCS)


def fakesnow() -> Path:
    """Return the Snowflake that DuckDB is."""
    return downloads.python_program("fakesnow", *FAKESNOW)


def compose_config() -> Path:
    """Return what reads a compose file as ``docker compose config`` does."""
    return downloads.go_program_of(Path(__file__).with_name("compose_config"))


def pyiceberg_source() -> Path:
    """Return PyIceberg's source distribution, which has its tests."""
    return downloads.python_source("pyiceberg", version("pyiceberg"))


def datafusion() -> Path:
    """Return the folder of the package with which PyIceberg's tests make rows."""
    return downloads.python_package("datafusion", DATAFUSION)


def superset() -> Path:
    """Return the ``gunicorn`` of Superset's environment."""
    return downloads.python_program("gunicorn", *SUPERSET)


def playwright() -> Path:
    """Return the ``python`` that drives a browser."""
    return downloads.python_program("python", *PLAYWRIGHT)


PROGRAMS: tuple[Callable[[], Path], ...] = (
    *(trino, nessie, versitygw, gcs, fakesnow, compose_config, pyiceberg_source, datafusion, superset, playwright),
)


def main() -> None:
    """Fetch all of them, and say how long each took."""
    for program in PROGRAMS:
        started = time.monotonic()
        program()
        print(f"{program.__name__}: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
