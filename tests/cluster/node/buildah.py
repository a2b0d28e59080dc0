"""Builds images with buildah, from bases that Debian's packages make where none can be pulled.

What a build needs of this machine to reach a package index is lent to it by `lending`.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.cache import SOURCES, cache_folder, digest, locked
from tests.cluster.commands import reported, run, run_logged
from tests.cluster.errors import ClusterError, read_log
from tests.cluster.node.lending import lent_volumes

PREFIX = "localhost/towpath-test"
PYTHON_PACKAGES = ["ca-certificates", "netbase", "python3", "python3-pip", "python3-venv"]
POSTGRES_PACKAGES = ["netbase", "postgresql"]
# A server that the package would set up for itself is of no use in an image.
NO_SERVER = (
    'mkdir -p "$1/etc/postgresql-common" && '
    'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"'
)
# A third of the package is the compiler of just-in-time plans, loaded only if it is there.
NO_COMPILER = 'rm -f "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/postgresql/*/lib/llvmjit*'
# An image is copied into the node at every start; nobody reads its manual.
UNREAD = ("doc", "info", "locale", "man")


def build(
    tag: str, *, dockerfile: Path, context: Path, arguments: Mapping[str, str] | None = None
) -> str:
    """Build an image from a Dockerfile as it is and return its id; the log stays in the cache."""
    log = cache_folder() / "logs" / f"image-{tag.rpartition('/')[2].replace(':', '-')}.log"
    argv: list[str | Path] = ["buildah", "build", "--layers", "--pull-never", "--network", "host"]
    argv += ["--signature-policy", _policy()]
    for name, value in (arguments or {}).items():
        argv += ["--build-arg", f"{name}={value}"]
    with locked("images"), reported(f"building the image {tag}"):
        for volume in lent_volumes(cache_folder() / "images" / "home"):
            argv += ["--volume", volume]
        # By its id: another process may give the tag to another image in the meantime.
        written = cache_folder() / "images" / "built"
        argv += ["--iidfile", written, "--file", dockerfile, "--tag", tag, context]
        run_logged("image build", argv, log=log, env=_environment())
        return written.read_text().strip()


def save(image: str, tag: str, archive: Path) -> None:
    """Write an image into a file that containerd imports under the name `tag`."""
    archive.unlink(missing_ok=True)
    archive.parent.mkdir(parents=True, exist_ok=True)
    target = f"docker-archive:{archive}:{tag}"
    with locked("images"):
        argv = ["buildah", "push", "--signature-policy", str(_policy()), image, target]
        run("image push", argv, env=_environment(), seconds=300)


def python_base() -> str:
    """Return the base image for Python programs, made if it is missing."""
    return _debian_base("python", PYTHON_PACKAGES, [])


def postgres_image() -> str:
    """Return the image of a Postgres server, made if it is missing."""
    base = _debian_base(
        "postgres-base",
        POSTGRES_PACKAGES,
        [f"--essential-hook={NO_SERVER}", f"--customize-hook={NO_COMPILER}"],
    )
    sources = SOURCES / "images" / "postgres"
    tag = f"{PREFIX}/postgres:{digest(sorted(sources.iterdir()), base)}"
    if not exists(tag):
        dockerfile = sources / "Dockerfile"
        build(tag, dockerfile=dockerfile, context=sources, arguments={"DEBIAN_IMAGE": base})
    return tag


def exists(tag: str) -> bool:
    """Tell whether buildah's own store has an image."""
    argv = ["buildah", "inspect", "--type", "image", tag]
    environment = {**os.environ, **_environment()}
    done = subprocess.run(argv, capture_output=True, env=environment, check=False)
    return done.returncode == 0


def _debian_base(name: str, packages: list[str], options: list[str]) -> str:
    suite = _debian_suite()
    tag = f"{PREFIX}/{name}:{digest([], suite, *packages, *UNREAD, *options)}"
    if exists(tag):
        return tag
    context = cache_folder() / "bases" / name
    context.mkdir(parents=True, exist_ok=True)
    archive = context / "root.tar"
    log = cache_folder() / "logs" / f"base-{name}.log"
    include = f"--include={','.join(packages)}"
    unread = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in UNREAD]
    argv = ["mmdebstrap", "--variant=minbase", include, *unread, *options, suite, str(archive)]
    with locked("bases"), reported(f"making the base image {name} from Debian's packages"):
        run_logged("mmdebstrap", argv, log=log)
        dockerfile = context / "Dockerfile"
        dockerfile.write_text("FROM scratch\nADD root.tar /\n")
        build(tag, dockerfile=dockerfile, context=context)
        archive.unlink()
    return tag


def _debian_suite() -> str:
    for line in read_log(Path("/etc/os-release")).splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise ClusterError("mmdebstrap", "/etc/os-release names no Debian release to make images of")


def _environment() -> dict[str, str]:
    """Return buildah's settings: a store of our own, and no registry to ask."""
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    storage = folder / "storage.conf"
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    runtime = folder / "run"
    storage.write_text(
        f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder / "store"}"\nrunroot = "{runtime}"\n'
    )
    registries = folder / "registries.conf"
    registries.write_text("unqualified-search-registries = []\n")
    return {
        "BUILDAH_ISOLATION": "chroot",
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
    }


def _policy() -> Path:
    """Return the rule that images need no signature: each of ours was made here."""
    policy = cache_folder() / "images" / "policy.json"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return policy
