"""Makes and removes the cgroups of a node: the only thing that outlives its namespaces.

A kubelet removes every pod's cgroup below its root that it does not know, so two nodes on one
machine need two roots.
"""

import contextlib
import os
from pathlib import Path

HIERARCHIES = Path("/sys/fs/cgroup")
# Version 1 has a folder for each controller; version 2 is one tree that has this file.
UNIFIED_MARK = "cgroup.controllers"
# A new cpuset is empty until it is told which of the parent's it may use.
CPUSETS = ("cpuset.cpus", "cpuset.mems")


def make_cgroups(name: str) -> None:
    """Make a node's root cgroup in every hierarchy."""
    for root in _roots():
        if root == HIERARCHIES:
            _offer_controllers(root)
        folder = root / name
        folder.mkdir(exist_ok=True)
        for file in CPUSETS:
            if root.parent == HIERARCHIES and (root / file).exists():
                (folder / file).write_text((root / file).read_text())


def remove_cgroups(name: str) -> None:
    """Remove a node's cgroups, children first; one with a living process stays."""
    for top in find_cgroups(name):
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                continue


def find_cgroups(name: str) -> list[Path]:
    """Return the root cgroups of a node that exist."""
    return [root / name for root in _roots() if (root / name).exists()]


def _offer_controllers(root: Path) -> None:
    """Let children of a version 2 tree have every controller; most are offered already."""
    for controller in (root / UNIFIED_MARK).read_text().split():
        # The machine may keep one to itself. If the kubelet needs that one, its log says so.
        with contextlib.suppress(OSError):
            (root / "cgroup.subtree_control").write_text(f"+{controller}")


def _roots() -> list[Path]:
    if (HIERARCHIES / UNIFIED_MARK).exists():
        return [HIERARCHIES]
    folders = sorted(HIERARCHIES.iterdir())
    # Links such as cpu -> cpu,cpuacct name a hierarchy a second time.
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
