"""The program: what it loads, how it fails, with which codes it ends."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest

from towpath.cli import lazy
from towpath.cli.exits import MEANINGS, CommandError, ExitCode, exit_code_of
from towpath.cli.main import cli, run
from towpath.domain import errors

SLOW = ("psycopg", "asyncio", "towpath.api", "towpath.store", "http.server", "kopf", "pydantic")
WRONG_KWARG = "error: Invalid value for '--kwarg':"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["version"],
        ["db", "migrate", "--help"],
        ["queue", "list", "--help"],
        ["worker", "run", "--help"],
        ["workflow", "start", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_slow(arguments: list[str]) -> None:
    """A shell asks at every TAB: neither the driver nor the API is imported for help."""
    code = (
        "import sys; from towpath.cli.main import run; run(sys.argv[1:]); "
        f"sys.exit(', '.join(name for name in {SLOW!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == "\n"
    assert done.stdout


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each says in its first line what it does, and its options in words."""
    for group in ("db", "queue", "worker", "workflow"):
        command = cli.get_command(click.Context(cli), group)
        assert isinstance(command, click.Group)
        for name, leaf in command.commands.items():
            assert run([group, name, "--help"]) == 0
            options = [p for p in leaf.params if isinstance(p, click.Option)]
            assert all(option.help for option in options), (group, name)
    assert "Exit codes" in capsys.readouterr().out


def test_the_version_is_printed_by_both_names(capsys: pytest.CaptureFixture[str]) -> None:
    """`towpath version` and `towpath --version` say the same."""
    assert run(["version"]) == 0
    assert run(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("towpath ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "error: No such command 'nonsense'. Try: towpath --help\n"),
        (["queue", "get"], "error: Missing argument 'NAME'. Try: towpath queue get --help\n"),
        (
            ["workflow", "start", "greet"],
            "error: Missing option '--queue'. Try: towpath workflow start --help\n",
        ),
        (
            ["workflow", "start", "greet", "-k", "5=5", "--queue", "q"],
            f"{WRONG_KWARG} '5=5' is not NAME=VALUE. Try: towpath workflow start --help\n",
        ),
        (
            ["workflow", "start", "greet", "-k", "a=5", "-k", "a=6", "--queue", "q"],
            f"{WRONG_KWARG} 'a' is given twice. Try: towpath workflow start --help\n",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line ends with the command that helps."""
    assert run(arguments) == 2
    assert capsys.readouterr() == ("", said)


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """What it can do is the answer, and nothing was done."""
    assert run(["queue"]) in {0, 2}  # click 8.1 calls it success
    said = capsys.readouterr()
    assert "list" in said.out + said.err


def test_no_database_is_2_and_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Nothing is configured, and no dev runs in this folder or above."""
    monkeypatch.chdir(str(tmp_path))
    for name in ("TOWPATH_DATABASE_URL", "TOWPATH_DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert run(["queue", "list"]) == 2
    said = capsys.readouterr().err
    assert "TOWPATH_DATABASE_URL" in said
    assert "towpath dev" in said


def test_an_unreachable_database_is_5_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody listens there, which the line says; a password never shows."""
    for command in (["queue", "list"], ["db", "status"]):
        url = "postgresql://someone:secret@127.0.0.1:1/shop"
        assert run([*command, "--database-url", url]) == 5
    for url in ("postgresql//someone:secret@h/d", "secret"):
        assert run(["queue", "list", "--database-url", url]) == 5
    said = capsys.readouterr().err
    assert said.count("error: the database cannot be reached: ") == 4
    assert said.count("\n") == 4
    assert "secret" not in said


def test_a_bug_is_one_line_and_its_traceback_comes_by_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback reaches a user who has not asked for it."""

    @click.command()
    def broken() -> None:
        raise ZeroDivisionError("one\ntwo postgresql://me:secret@host/db")

    monkeypatch.setitem(cli._lazy, "broken", lazy.LazyCommand(__name__, "BROKEN", "breaks"))
    monkeypatch.setitem(globals(), "BROKEN", broken)
    assert run(["broken"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "error: unexpected ZeroDivisionError: one two postgresql://me:***@host/db. "
        "Try: towpath --debug broken\n"
    )
    assert run(["--debug", "broken"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "secret" not in said


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word: the one who pressed it knows."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    assert run(["version"]) == 130


def test_a_reader_that_has_gone_is_no_error_on_stderr() -> None:
    """`towpath ... | head` ends without a traceback."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m towpath --help | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("value", ["towpath_not_there:dev", "json:not_there.at_all"])
def test_a_command_whose_extra_is_missing_says_what_to_install(
    value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`towpath dev` comes by the extra [local]; help still lists it."""
    entry = EntryPoint(name="dev", value=value, group=lazy.PLUGINS)
    entries = {"dev": entry} if value.startswith("towpath") else {}
    monkeypatch.setattr(lazy, "_entry_points", lambda: entries)
    assert run(["dev"]) == 2
    assert capsys.readouterr().err == (
        "error: `towpath dev` is not installed. Try: pip install 'towpath[local]'\n"
    )
    assert run(["--help"]) == 0
    assert "dev " in capsys.readouterr().out


def test_an_extra_that_is_missed_while_the_command_runs_says_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin may load its parts late."""

    @click.command()
    def dev() -> None:
        raise ModuleNotFoundError("No module named 'kopf'", name="kopf")

    monkeypatch.setattr(cli, "_load_plugin", lambda _: dev)
    assert run(["dev"]) == 2
    assert "pip install 'towpath[local]'" in capsys.readouterr().err


def test_commands_of_other_packages_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their package is all that help can say without loading them."""
    entry = EntryPoint(name="extra", value="their_package.cli:extra", group=lazy.PLUGINS)
    monkeypatch.setattr(lazy, "_entry_points", lambda: {"extra": entry})
    assert run(["--help"]) == 0
    assert "extra     From their_package.cli" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ApplicationImportError(application="a", reason="b"), 6),
        (errors.NotConfiguredError(), 2),
        (errors.QueueNotFoundError(queue_name="q"), 3),
        (errors.WorkflowNotFoundError(workflow_id="w"), 3),
        (errors.SchemaMissingError(schema="s"), 4),
        (errors.SchemaTooNewError(schema="s", serves_from=2, library=1), 4),
        (errors.PortInUseError(port=1, reason="r"), 4),
        (errors.WorkflowIdConflictError(workflow_id="w", asked=("a", "b"), existing=("c", "d")), 4),
        (errors.DatabaseUnreachableError(reason="r"), 5),
        (errors.ResultTimeoutError(workflow_id="w", timeout_seconds=1), 124),
        (errors.WorkflowCancelledError(workflow_id="w"), 1),
        (CommandError("c", ExitCode.CONFLICT), 4),
        (ValueError("v"), 1),
    ],
)
def test_each_error_has_its_code(error: Exception, code: int) -> None:
    """One table maps the tree; every code has a meaning in the reference."""
    assert exit_code_of(error) == code
    assert ExitCode(code) in MEANINGS
