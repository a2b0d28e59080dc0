"""Brings images into the node's containerd."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cache import cache_folder, digest
from tests.cluster.commands import reported, run
from tests.cluster.node import buildah
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
        tag = buildah.python_base()
        return self._load(tag, tag)

    def postgres(self) -> str:
        """Load the image of a Postgres server."""
        tag = buildah.postgres_image()
        return self._load(tag, tag)

    def load_archive(self, archive: Path) -> None:
        """Import an archive with its names."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--"]
        ctr = ["ctr", f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io"]
        run("containerd", [*inside, *ctr, "images", "import", archive], seconds=300)

    def _load(self, image: str, tag: str) -> str:
        """Load an image, given by id or by a tag that never moves, unless this handle has."""
        if self._loaded.get(tag) == image:
            return tag
        archive = cache_folder() / "archives" / f"{digest([], tag, str(self.pid))}.tar"
        with reported(f"loading {tag} into the node"):
            try:
                buildah.save(image, tag, archive)
                self.load_archive(archive)
            finally:
                archive.unlink(missing_ok=True)
        self._loaded[tag] = image
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
