"""Application versions: which there are, and which one begins what carries none."""

from __future__ import annotations

from abc import ABC, abstractmethod

from towpath.domain.errors import ConfigurationError
from towpath.domain.ids import MAX_NAME_LENGTH, storable_text
from towpath.executor.context import refuse_blocking
from towpath.executor.engine import Engine
from towpath.insights import versions as insights
from towpath.insights.versions import VersionInfo
from towpath.store import versions
from towpath.store.lending import Verb


class ManagesVersions(ABC):
    """What may be done with versions; an App and a Client do it."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The connections and loops of this process."""

    def promote_version(self, name: str) -> bool:
        """Let a version begin what is enqueued without one, from now on; other versions go on with theirs.

        Workers without a version begin it as well. What waits already is begun by the new version, too.

        Args:
            name: As TOWPATH_VERSION has it.

        Returns:
            Whether another was current, or none; False where it was this one already.

        Raises:
            ConfigurationError: the name cannot be one.
        """
        refuse_blocking("promote_version", "promote_version_async(...)")
        return self.engine.run(_promote(self.engine, name))

    async def promote_version_async(self, name: str) -> bool:
        """As `promote_version`, awaited from any loop."""
        return await self.engine.run_async(_promote(self.engine, name))

    def list_versions(self) -> list[VersionInfo]:
        """Return every version that was promoted, that a live worker runs or an open workflow carries.

        The one with the empty name stands for what carries none. All that has not ended is counted.
        """
        refuse_blocking("list_versions", "list_versions_async()")
        return self.engine.run(_list(self.engine))

    async def list_versions_async(self) -> list[VersionInfo]:
        """As `list_versions`, awaited from any loop."""
        return await self.engine.run_async(_list(self.engine))


def _promote(engine: Engine, name: object) -> Verb[bool]:
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_NAME_LENGTH
        or not storable_text(name)
    ):
        shown = name[:40] if isinstance(name, str) else name
        raise ConfigurationError(
            f"version is {shown!r}; allowed is a str of 1 to {MAX_NAME_LENGTH} characters, without "
            "NUL or lone surrogates."
        )
    return lambda session: versions.promote(session, engine.statements, name)


def _list(engine: Engine) -> Verb[list[VersionInfo]]:
    return lambda session: insights.list_versions(session, engine.statements)
