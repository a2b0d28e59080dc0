"""Brings images into the node's containerd."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cache import cache_folder, digest
from tests.cluster.commands import reported, run
from tests.cluster.node import buildah
from tests.cluster.node.archives import write_without
from tests.cluster.node.layout import CONTAINERD_SOCKET, PAUSE_IMAGE

DEFAULT_REGISTRY = "docker.io/library"


@dataclass(slots=True, kw_only=True)
class NodeImages:
    """Builds with buildah and imports into containerd, which is reached by way of pid 1."""

    pid: int
    _loaded: dict[str, str] = field(default_factory=dict)

    def build(
        self, name: str, *, dockerfile: Path, context: Path, arguments: Mapping[str, str]
    ) -> str:
        """Build an image, load it, and return its full name."""
        tag = full_name(name)
        named = {"PYTHON_IMAGE": buildah.python_base(), **arguments}
        image = buildah.build(tag, dockerfile=dockerfile, context=context, arguments=named)
        return self._load(image, tag)

    def python(self) -> str:
        """Load the base image of Python programs."""
        return self._load_kept(buildah.python_base())

    def postgres(self) -> str:
        """Load the image of a Postgres server."""
        return self._load_kept(buildah.postgres_image())

    def load_archive(self, archive: Path) -> None:
        """Import an archive with its names."""
        self._ctr("images", "import", str(archive))

    def _ctr(self, *arguments: str) -> str:
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--"]
        ctr = ["ctr", f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io"]
        return run("containerd", [*inside, *ctr, *arguments], seconds=300)

    def _load(self, image: str, tag: str) -> str:
        """Load an image that was just built, given by its id, unless this handle has."""
        if self._loaded.get(tag) != image:
            whole, lacking = _archive(image), _archive(f"{image} lacking")
            with reported(f"loading {tag} into the node"):
                try:
                    buildah.save(image, tag, whole)
                    known = self._ctr("content", "ls", "--quiet").split()
                    write_without(known, whole, lacking, tag)
                    self.load_archive(lacking)
                finally:
                    whole.unlink(missing_ok=True)
                    lacking.unlink(missing_ok=True)
            self._loaded[tag] = image
        return tag

    def _load_kept(self, tag: str) -> str:
        """Load an image whose tag tells its content, from an archive that is kept."""
        if tag not in self._loaded:
            with reported(f"loading {tag} into the node"):
                self.load_archive(_kept_archive(tag))
            self._loaded[tag] = tag
        return tag


def full_name(name: str) -> str:
    """Return an image's name as the kubelet completes it.

    >>> full_name("shop:test")
    'docker.io/library/shop:test'
    """
    return name if "/" in name else f"{DEFAULT_REGISTRY}/{name}"


def build_pause(program: Path) -> Path:
    """Return the archive of the image that holds each pod's namespaces."""
    archive = cache_folder() / "archives" / f"pause-{digest([program])}.tar"
    if not archive.exists():
        dockerfile = program.parent / "pause.Dockerfile"
        dockerfile.write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
        image = buildah.build(PAUSE_IMAGE, dockerfile=dockerfile, context=program.parent)
        buildah.save(image, PAUSE_IMAGE, archive)
    return archive


def keep_archives() -> None:
    """Make the base images and their archives, so that later starts only load them."""
    for tag in (buildah.python_base(), buildah.postgres_image()):
        _kept_archive(tag)


def _archive(name: str) -> Path:
    """Return a path for an image's archive; one a process, for two may save one image."""
    return cache_folder() / "archives" / f"{digest([], name, str(os.getpid()))}.tar"


def _kept_archive(tag: str) -> Path:
    archive = cache_folder() / "archives" / f"kept-{digest([], tag)}.tar"
    if not archive.exists():
        draft = _archive(tag)
        buildah.save(tag, tag, draft)
        draft.replace(archive)
    return archive
