"""
Programs of one shell, each in a fork of one process that has imported what they import.

``airflow dags test`` spends most of its time on imports. Tests start it for good once, and then ask this.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAMS = {"airflow": "airflow.__main__", "phlo": "airflow_provider_phlo.cli.main"}
# what `dags test` imports, the server that it asks instead of another process among it
COMMANDS = (
    "airflow.cli.cli_parser",
    "airflow.cli.commands.dag_command",
    "airflow.dag_processing.dagbag",
    "airflow.api_fastapi.execution_api.routes",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "alembic.command",
)


class Forks:
    """
    What runs programs.

    :param process: this module as a program, in the shell of the programs.
    :param output: a file for what one prints.
    """

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output

    def run(self, command: str, environment: Mapping[str, str]) -> tuple[int, str]:
        """Run a line of a shell, with more variables; return its exit code and all that it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = shlex.split(command)
        print(json.dumps([words, dict(environment), str(self._output)]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        return int(answer), self._output.read_text()


@contextlib.contextmanager
def running_forks(shell: str, folder: Path, variables: Mapping[str, str], output: Path) -> Iterator[Forks]:
    """
    Start the process that programs are forked from.

    :param shell: commands that set the variables up.
    """
    command = ["bash", "-c", f"{shell} && exec {shlex.quote(sys.executable)} -m {__name__}"]
    with subprocess.Popen(
        command, cwd=folder, env=dict(variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forks(process, output)
        assert process.stdin is not None
        process.stdin.close()


def main() -> None:
    """Run what comes in, one line after the other."""
    from airflow_provider_phlo.plugins import preload
    from airflow_provider_phlo.process import process_as_before, without_warnings_of_cosmos

    with process_as_before(), without_warnings_of_cosmos():
        for name in (*PROGRAMS.values(), *COMMANDS, *preload.modules(for_tasks=True)):
            importlib.import_module(name)
    for line in sys.stdin:
        words, variables, output = json.loads(line)
        child = os.fork()
        if not child:
            _become(words, variables, output)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(words: list[str], variables: dict[str, str], output: str) -> None:
    """Be the program, and end as it does."""
    code: object = 1
    try:
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(written, stream)
        os.environ.update(variables)
        sys.argv = words
        code = importlib.import_module(PROGRAMS[words[0]]).main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - as Python does with what nobody catches
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(bool(code)))


if __name__ == "__main__":
    main()
