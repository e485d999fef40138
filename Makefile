# Two commands matter: `make demo` and `make test`. Both set everything up first.
# All state of a run lives in PHLO_HOME (default .phlo); `eval "$(make -s env)"` puts a shell into the same place.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.setup-done
EXTRAS := 'pyiceberg[sql-postgres]' 'moto[server,s3]' 'snowflake-connector-python<5' build hatchling
# a worker waits for processes half of its time: one more than there are cores keeps two busy
WORKERS ?= 3
# a group stays on one worker; the largest is first, but for --no-loadscope-reorder
PARALLEL = -n $(WORKERS) --dist loadgroup
# a part by its name: make test K='quarantine and not replay'
# what make is given goes through the environment: neither make nor the shell looks into it
export PHLO_TESTS = $(value K)
export PHLO_SQL = $(value SQL)
ONLY = $(if $(value K),-k "$$PHLO_TESTS")
# a part has all that its name says
BUT_LONG = $(if $(value K),,-m "not long")

MAKEFLAGS += --no-print-directory
# imports are most of the time of every start: let Python keep what it compiled
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-system test-faults test-bi soak integration programs benchmark lint typecheck env psql stop clean

help:  ## Show what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

setup: $(STAMP)  ## Create .venv with the pinned packages; nothing to do when they are up to date

# everything to stderr: the output of `make env` is for eval
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, and $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")'
	@echo "Setting up $(VENV) …" >&2
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) >&2
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt uv >&2
	@$(VENV)/bin/uv pip install --quiet -p $(PY) -c constraints.txt -e '.[celery,embedded,openlineage,trino,dev]' $(EXTRAS) >&2
	@touch $@

demo: $(STAMP)  ## Run the example pipelines under Airflow and stay up (DEMO_EXIT=1: leave when done; LIVE=1: on the connections of .env)
	@exec $(PY) -m airflow_provider_phlo.services.demo

test: $(STAMP)  ## Run the unit tests, but those marked as long (K=name: only those, as pytest -k)
	@$(PY) -m pytest $(PARALLEL) --no-loadscope-reorder $(BUT_LONG) $(ONLY)

test-long: $(STAMP)  ## Run the unit tests that take longest: programs that are started, random histories (minutes)
	@$(PY) -m pytest $(PARALLEL) --no-loadscope-reorder -m long $(ONLY)

test-system: $(STAMP)  ## Run the system tests: real schedulers, the demo in a clean clone (minutes)
	@$(PY) -m pytest tests/system --timeout=900 -n 2 --dist loadfile $(ONLY)

test-faults: $(STAMP)  ## Run the fault tests: kill -9 at every step, full disks, broken servers (minutes)
	@$(PY) -m pytest tests/faults --timeout=900 $(PARALLEL) $(ONLY)

test-bi: $(STAMP)  ## Open the dashboards in a real Superset and a browser (installs Superset once, outside of .venv; minutes)
	@$(PY) -m pytest tests/bi --timeout=600 $(ONLY)

soak: $(STAMP)  ## Run fault and unit tests in their long sizes: 20,000 random sequences, 500 kills per step (hours)
	@PHLO_SOAK=1 $(PY) -m pytest tests/faults tests/unit tests/dbt --timeout=0 $(PARALLEL) $(ONLY)

integration: $(STAMP)  ## Build dbt projects, and run the tests on real servers: Airflow, Trino, Nessie, S3 (downloads them once; PHLO_SKIP_SERVICES=1 skips)
	@$(PY) -m pytest tests/integration tests/services tests/dbt --timeout=900 $(PARALLEL) --no-loadscope-reorder $(ONLY)

programs: $(STAMP)  ## Fetch what the tests on real servers start: once, and they fetch what is missing themselves
	@$(PY) -m tests.services.programs

benchmark: $(STAMP)  ## Measure merges, checks, validation and reconciliation against their peers (quiet machine, half an hour)
	@$(VENV)/bin/uv pip install --quiet -p $(PY) 'deltalake==1.6.6' 'adbc-driver-postgresql==1.13'
	@$(PY) benchmarks/merge.py --keep
	@$(PY) benchmarks/quality.py --keep
	@$(PY) benchmarks/publish.py --keep

lint: $(STAMP)  ## Check style, and English that makes readers stumble
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(PY) -m tests.wording

typecheck: $(STAMP)  ## Check types
	@$(VENV)/bin/mypy

env: $(STAMP)  ## Print exports for a shell: eval "$(make -s env)"
	@$(PY) -m airflow_provider_phlo.services.environment.embedded env

psql: $(STAMP)  ## Open psql on the published marts (SQL='…' runs one statement)
	@exec $(PY) -m airflow_provider_phlo.services.environment.embedded psql $(if $(value SQL),-c "$$PHLO_SQL")

stop:  ## End the demo and the bundled Postgres, also after a crash
	@test ! -x $(PY) || $(PY) -m airflow_provider_phlo.services.environment.embedded stop

clean:  ## Stop, and remove all state of runs (PHLO_HOME)
	@test ! -x $(PY) || $(PY) -m airflow_provider_phlo.services.environment.embedded clean
