"""Builds images with buildah, from bases that Debian's packages make where none can be pulled.

Whatever this machine needs to reach a package index (a certificate bundle, a pip configuration, a
folder of wheels) is found in the machine's own settings and lent to the build; none of it ends up
in an image.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.cache import SOURCES, cache_folder, digest, locked
from tests.cluster.commands import reported, run, run_logged
from tests.cluster.errors import ClusterError, read_log

PREFIX = "localhost/towpath-test"
PYTHON_PACKAGES = ["ca-certificates", "netbase", "python3", "python3-pip", "python3-venv"]
POSTGRES_PACKAGES = ["netbase", "postgresql"]
# A server that the package would set up for itself is of no use in an image.
NO_CLUSTER = (
    'mkdir -p "$1/etc/postgresql-common" && '
    'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"'
)
CERTIFICATE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def build(
    tag: str, *, dockerfile: Path, context: Path, arguments: Mapping[str, str] | None = None
) -> None:
    """Build an image from a Dockerfile as it is; the log is kept beside the cache."""
    log = cache_folder() / "logs" / f"image-{tag.rpartition('/')[2].replace(':', '-')}.log"
    argv: list[str | Path] = ["buildah", "build", "--layers", "--pull-never", "--network", "host"]
    argv += ["--signature-policy", _policy()]
    for name, value in (arguments or {}).items():
        argv += ["--build-arg", f"{name}={value}"]
    for volume in _lent_files():
        argv += ["--volume", volume]
    argv += ["--file", dockerfile, "--tag", tag, context]
    with locked("images"), reported(f"building the image {tag}"):
        run_logged("image build", argv, log=log, env=_environment())


def save(tag: str, archive: Path) -> None:
    """Write an image into a file that containerd imports, under its own name."""
    archive.unlink(missing_ok=True)
    archive.parent.mkdir(parents=True, exist_ok=True)
    target = f"docker-archive:{archive}:{tag}"
    with locked("images"):
        argv = ["buildah", "push", "--signature-policy", str(_policy()), tag, target]
        run("image push", argv, env=_environment(), seconds=300)


def python_base() -> str:
    """Return the base image for Python programs, made if it is missing."""
    return _debian_base("python", PYTHON_PACKAGES, [])


def postgres_image() -> str:
    """Return the image of a Postgres server, made if it is missing."""
    base = _debian_base("postgres-base", POSTGRES_PACKAGES, [f"--essential-hook={NO_CLUSTER}"])
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
    tag = f"{PREFIX}/{name}:{digest([], suite, *packages, *options)}"
    if exists(tag):
        return tag
    context = cache_folder() / "bases" / name
    context.mkdir(parents=True, exist_ok=True)
    archive = context / "root.tar"
    log = cache_folder() / "logs" / f"base-{name}.log"
    include = f"--include={','.join(packages)}"
    argv = ["mmdebstrap", "--variant=minbase", include, *options, suite, str(archive)]
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


def _lent_files() -> list[str]:
    """Return the mounts that give a build this machine's way to the package index."""
    settings = _pip_settings()
    volumes: list[str] = []
    bundle = settings.get("cert") or next(
        (os.environ[name] for name in CERTIFICATE_VARIABLES if os.environ.get(name)), ""
    )
    if bundle and Path(bundle).is_file():
        settings["cert"] = bundle
        volumes.append(f"{bundle}:{bundle}:ro")
    wheels = settings.get("find-links", "")
    if wheels and Path(wheels).is_dir():
        volumes.append(f"{wheels}:{wheels}:ro")
    if settings:
        configuration = cache_folder() / "images" / "pip.conf"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        configuration.write_text("\n".join(["[global]", *lines, ""]))
        configuration.chmod(0o600)
        volumes.append(f"{configuration}:/etc/pip.conf:ro")
    return volumes


def _pip_settings() -> dict[str, str]:
    """Return pip's settings on this machine, those of the environment over those of files."""
    listed = run("pip", [sys.executable, "-m", "pip", "config", "list"])
    found: dict[str, dict[str, str]] = {"global": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = value.strip("'\"")
    return {**found["global"], **found[":env:"]}
