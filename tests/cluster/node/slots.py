"""Gives each node of this machine a number, and removes what a killed node left behind.

The number is held by a name in the kernel (an abstract socket), which goes with the last process
that has it open. So a slot that can be taken has no living node, and whatever carries its name is
left over: to remove it is safe, without looking at processes.
"""

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from tests.cluster.cache import cache_folder
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.node.cgroups import remove_cgroups
from tests.cluster.node.layout import node_name

SLOTS = range(16)
NETWORKS = "172.30"


@dataclass(frozen=True, slots=True)
class Slot:
    """A number that is ours until the socket is closed here and in pid 1."""

    number: int
    held_by: socket.socket


def slot_folder(number: int) -> Path:
    """Return the folder of a slot's node."""
    return cache_folder() / "nodes" / node_name(number)


@contextmanager
def taken_slot() -> Iterator[Slot]:
    """Take the first free slot and clear all that dead nodes left in this and other slots."""
    free = [slot for slot in map(_take, SLOTS) if slot is not None]
    networks = _networks_of_the_host()
    for slot in free:
        _clear(slot.number)
    chosen = next((slot for slot in free if _is_free(slot.number, networks)), None)
    for slot in free:
        if slot is not chosen:
            slot.held_by.close()
    if chosen is None:
        raise ClusterError("network", f"no free address range of {NETWORKS}.0.0/16 on this machine")
    try:
        yield chosen
    finally:
        chosen.held_by.close()


def running_slots() -> list[int]:
    """Return the slots whose nodes live and whose folders are in this cache."""
    running: list[int] = []
    for number in SLOTS:
        slot = _take(number)
        if slot is not None:
            slot.held_by.close()
        elif slot_folder(number).exists():
            running.append(number)
    return running


def network_of(number: int) -> str:
    """Return the first three numbers of a slot's /24."""
    return f"{NETWORKS}.{number}"


def _take(number: int) -> Slot | None:
    held_by = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held_by.bind(f"\0towpath-test-cluster-{number}")
    except OSError:
        held_by.close()
        return None
    return Slot(number, held_by)


def _clear(number: int) -> None:
    remove_cgroups(node_name(number))
    shutil.rmtree(slot_folder(number), ignore_errors=True)


def _is_free(number: int, networks: list[str]) -> bool:
    wanted = ip_network(f"{network_of(number)}.0/24")
    return not any(wanted.overlaps(ip_network(network)) for network in networks)


def _networks_of_the_host() -> list[str]:
    routes = json.loads(run("network", ["ip", "-json", "-4", "route", "show", "table", "all"]))
    return [route["dst"] for route in routes if route["dst"] != "default"]
