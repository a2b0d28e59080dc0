"""Command groups that load a command's module when it is called, and no earlier.

The command line starts for every TAB of a shell: `--help` reads summaries from a table.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import click

from towpath.cli.exits import CommandError, ExitCode

PLUGINS: Final = "towpath.commands"


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is defined, and what help says of it before it is loaded."""

    module: str
    attribute: str
    summary: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """A command that comes by an entry point. `extra` is what it needs to be installed."""

    summary: str
    extra: str


class LazyGroup(click.Group):
    """A group whose commands are named in a table, and by the entry points of other packages."""

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, LazyCommand],
        plugins: Mapping[str, Plugin],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy
        self._plugins = plugins

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return sorted({*self._lazy, *self._plugins, *_entry_points()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        del ctx
        where = self._lazy.get(cmd_name)
        if where is not None:
            command = getattr(importlib.import_module(where.module), where.attribute)
            assert isinstance(command, click.Command)  # noqa: S101 - the table is ours
            return command
        return self._load_plugin(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a plugin may load parts of its extra only then."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            name = ctx.invoked_subcommand or ""
            if name in self._plugins and not _is_ours(error):
                raise _missing(name, self._plugins[name].extra) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without loading any."""
        rows = [(name, self._summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _summary(self, name: str) -> str:
        if name in self._lazy:
            return self._lazy[name].summary
        if name in self._plugins:
            return self._plugins[name].summary
        return f"From {_entry_points()[name].value.partition(':')[0]}"

    def _load_plugin(self, name: str) -> click.Command | None:
        entry = _entry_points().get(name)
        known = self._plugins.get(name)
        if entry is None:
            if known is None:
                return None
            raise _missing(name, known.extra)
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            if known is None or _is_ours(error):
                raise
            raise _missing(name, known.extra) from error
        if not isinstance(command, click.Command):
            raise CommandError(
                f"command {name!r} of the entry point {entry.value!r} is no click command."
            )
        return command


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").partition(".")[0] == "towpath"


def _missing(name: str, extra: str) -> CommandError:
    return CommandError(
        f"`towpath {name}` is not installed. Try: pip install 'towpath[{extra}]'", ExitCode.USAGE
    )


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=PLUGINS)}
