#!/bin/sh
# Print the URL of Airflow's metadata database in the bundled Postgres of a home; start the server if it does not run.
# Every Airflow process calls this: where the server runs, it takes no Python to read the URL that lies ready.
# Usage: metadata_url.sh HOME PYTHON
home=$1
python=$2

runs() {
    pid=$(head -n 1 "$home/postgres/data/postmaster.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    kill -0 "$pid" 2>/dev/null || return 1
    # one that was killed, and that nobody has waited for yet
    ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status" 2>/dev/null || return 1
    # a number that belongs to another program by now, or to one that is on its way out
    [ ! -r "/proc/$pid/cmdline" ] || grep -aqF "$(cd "$home/postgres/data" && pwd -P)" "/proc/$pid/cmdline"
}

if runs && cat "$home/postgres/metadata_url" 2>/dev/null; then
    exit 0
fi
exec "$python" -m airflow_provider_phlo.services.postgres.metadata "$home"
