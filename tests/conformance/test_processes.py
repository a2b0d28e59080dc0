"""What spans processes: a script of its own, a forked child, the connection found from a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import towpath
from towpath.errors import NotConfiguredError

SCRIPT = """
import os
import towpath
from towpath import Queue, SetWorkflowID

email = Queue("email")


@towpath.step()
def render(name: str) -> str:
    return f"Dear {name}"


@towpath.workflow()
def send_email(name: str) -> str:
    return render(name) + "!"


if __name__ == "__main__":
    towpath.launch()
    with SetWorkflowID("email-1"):
        handle = email.enqueue(send_email, "Ada")
    print(handle.get_result(timeout=30))
"""

FORKING = (
    SCRIPT
    + """
    pid = os.fork()
    if pid == 0:
        try:
            child = email.enqueue(send_email, "child")
            print(child.get_result(timeout=30), flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    print(send_email("parent"))
"""
)


def run(code: str, folder: Path, environ: dict[str, str]) -> str:
    """Run a script in a folder and return what it printed."""
    (folder / "shop.py").write_text(code)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TOWPATH_")}
    done = subprocess.run(
        [sys.executable, "shop.py"],
        cwd=folder,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_on_an_empty_database_migrates_enqueues_and_ends(
    empty_database_url: str, tmp_path: Path
) -> None:
    """Launch migrates; an enqueue right after it does not race with that; the process ends by itself."""
    environ = {"TOWPATH_DATABASE_URL": empty_database_url}
    assert run(SCRIPT, tmp_path, environ) == "Dear Ada!\n"


def test_the_url_may_stand_in_a_file(database_url: str, tmp_path: Path) -> None:
    """TOWPATH_DATABASE_URL_FILE wins over TOWPATH_DATABASE_URL."""
    (tmp_path / "uri").write_text(database_url + "\n")
    environ = {
        "TOWPATH_DATABASE_URL_FILE": str(tmp_path / "uri"),
        "TOWPATH_DATABASE_URL": "postgresql://127.0.0.1:1/none",
    }
    assert run(SCRIPT, tmp_path, environ) == "Dear Ada!\n"


def test_a_forked_child_enqueues_over_connections_of_its_own(
    database_url: str, tmp_path: Path
) -> None:
    """The child claims nothing; the parent's worker runs what it enqueued."""
    environ = {"TOWPATH_DATABASE_URL": database_url, "PYTHONWARNINGS": "ignore"}
    assert run(FORKING, tmp_path, environ) == "Dear Ada!\nDear child!\nDear parent!\n"


def test_without_any_database_the_error_names_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a variable nor a dev in the folder."""
    for name in ("TOWPATH_DATABASE_URL", "TOWPATH_DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotConfiguredError, match=r"TOWPATH_DATABASE_URL.*towpath dev"):
        towpath.App().list_workflows()
