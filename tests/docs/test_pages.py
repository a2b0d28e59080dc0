"""The pages say what happens: their files are written, their commands run, their output compared."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.docs.pages import Command, FileBlock, blocks
from tests.fixtures.apps import wait_until
from towpath.insights.reasons import Kind

ROOT = Path(__file__).parents[2]
GUIDES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs/guides").glob("*.md"))
FOR_A_CLUSTER = {"docs/guides/alerts.md", "docs/guides/install.md"}
"""Guides that need a cluster in every line: tests/chart and tests/e2e do what they say."""

RUN = (
    "README.md",
    "docs/quickstart.md",
    "docs/reference/values.md",
    *(guide for guide in GUIDES if guide not in FOR_A_CLUSTER),
)
NEEDS_MORE = {"pip", "make", "kubectl", "helm"}
"""Commands that other tests run: an installation, this test itself, a cluster."""

LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


class Walk:
    """Someone who follows a page in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = ("PATH", "HOME", "TMPDIR", "LANG")
        self._env = {name: os.environ[name] for name in names if name in os.environ}
        programs = str(Path(sys.executable).parent)
        self._env["PATH"] = os.pathsep.join((programs, self._env["PATH"]))
        self._dev = ExitStack()

    def follow(self, page: Path) -> list[str]:
        """Do what the page says; return the commands that were run."""
        done = []
        with self._dev:
            for block in blocks(page):
                if isinstance(block, FileBlock):
                    self._write(block)
                elif block.argv[0] not in NEEDS_MORE:
                    self._run(block)
                    done.append(" ".join(block.argv))
        return done

    def _write(self, block: FileBlock) -> None:
        path = self._folder / block.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def _run(self, command: Command) -> None:
        if command.argv[:2] == ["towpath", "dev"]:
            self._dev.close()  # the page stops the first before it starts the next
            self._dev.enter_context(_dev(command, self._folder, self._env))
            return
        ran = subprocess.run(
            command.argv,
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, f"{command.argv}: {ran.stderr}"
        _compare(command, ran.stdout)


def _compare(command: Command, said: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    example = doctest.Example(" ".join(command.argv), command.prints)
    checker = doctest.OutputChecker()
    if not checker.check_output(example.want, said, flags):
        pytest.fail(f"$ {example.source}{checker.output_difference(example, said, flags)}")


@contextmanager
def _dev(command: Command, folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Run `towpath dev` until it is ready, and to the block's end."""
    log = folder / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command.argv, cwd=folder, env=env, stdout=output, stderr=output)
    with process:
        try:
            wait_until(
                lambda: "\nstop " in log.read_text() or process.poll() is not None,
                seconds=60,
                what="towpath dev ready",
            )
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that every user reaches, for Postgres to live in."""
    made = Path(tempfile.mkdtemp(prefix="towpath-pages-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("page", RUN)
def test_a_page_can_be_followed(page: str, folder: Path) -> None:
    """Each file and command of the page works, in an empty folder."""
    assert len(Walk(folder).follow(ROOT / page)) > 1


def test_hello_is_the_application_of_the_readme() -> None:
    """The README's first block is `examples/hello/app.py`, without its docstrings."""
    (app,) = [b for b in blocks(ROOT / "README.md") if isinstance(b, FileBlock)][:1]
    told = _code(app.text)
    assert _code((ROOT / "examples/hello/app.py").read_text()) == told


def _code(text: str) -> list[str]:
    """Return the lines of code: what is neither blank, nor a comment, nor a docstring's line."""
    lines = (line.rstrip() for line in text.splitlines())
    return [line for line in lines if line and not line.lstrip().startswith(("#", '"""'))]


@pytest.mark.parametrize(
    "folder_of_pages", [".", "docs", "docs/decisions", "docs/guides", "bench", "examples/shop"]
)
def test_links_lead_somewhere(folder_of_pages: str) -> None:
    """Each relative link of the pages in a folder names a file or folder that is there."""
    dead = [
        f"{file.name}: {target}"
        for file in (ROOT / folder_of_pages).glob("*.md")
        for target in LINK.findall(file.read_text("utf-8"))
        if not (file.parent / target).exists()
    ]
    assert dead == []


@pytest.mark.parametrize("index", ["README.md", "docs/index.md"])
def test_every_guide_is_found(index: str) -> None:
    """Whoever begins at the front comes to each page of the guides."""
    page = ROOT / index
    linked = {(page.parent / target).resolve() for target in LINK.findall(page.read_text("utf-8"))}
    assert [guide for guide in GUIDES if (ROOT / guide).resolve() not in linked] == []


def test_every_reason_to_wait_is_on_the_page_of_queues() -> None:
    """Whoever reads a kind in JSON finds what it says."""
    page = (ROOT / "docs/guides/queues.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [str(kind) for kind in Kind]


@pytest.mark.parametrize(
    "record", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda p: p.stem
)
def test_a_decision_is_one_page(record: Path) -> None:
    """A record is numbered, titled by its number, and at most a page."""
    lines = record.read_text("utf-8").splitlines()
    assert re.match(rf"# {record.name[:4]} \S", lines[0])
    assert len(lines) <= 60
