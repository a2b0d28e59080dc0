"""Names, addresses and paths of one node, the same on the host and inside."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
PODS = "10.244.0.0/24"
DOMAIN = "cluster.local"
API_PORT = 6443
ETCD = "http://127.0.0.1:2379"
ETCD_PEERS = "http://127.0.0.1:2380"
# On the node's own tmpfs: two nodes have the same path and never meet.
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CNI_PLUGINS = "/usr/lib/cni"
PAUSE_IMAGE = "localhost/towpath-test/pause:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything that differs between two nodes on one machine, and what follows from it."""

    slot: int
    network: str  # the first three numbers of its /24, as in "172.30.0"
    cache: Path
    binaries: Path

    @property
    def folder(self) -> Path:
        """The node's own folder; its files are removed when the slot is next used."""
        return self.cache / "nodes" / self.name

    @property
    def name(self) -> str:
        """The node's name in Kubernetes, of its cgroups and of its network link on the host."""
        return node_name(self.slot)

    @property
    def address(self) -> str:
        """The node's own address, on which the API server answers."""
        return f"{self.network}.2"

    @property
    def host_address(self) -> str:
        """The host's end of the link."""
        return f"{self.network}.1"

    @property
    def server(self) -> str:
        """The URL of the API server, from the host and from the node."""
        return f"https://{self.address}:{API_PORT}"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.folder / "pki"

    @property
    def configuration(self) -> Path:
        """Configuration files and kubeconfigs of the parts."""
        return self.folder / "configuration"

    @property
    def logs(self) -> Path:
        """One log a part; kept after the end, until the slot is used again."""
        return self.folder / "logs"

    @property
    def state(self) -> Path:
        """What the parts store: inside, a file system in memory; on the host, an empty folder."""
        return self.folder / "state"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.configuration / "admin.json"

    @property
    def status(self) -> Path:
        """What pid 1 says about the node: see `init`."""
        return self.folder / "status.json"

    def log(self, part: str) -> Path:
        """Return the log file of a part."""
        return self.logs / f"{part}.log"

    def to_json(self) -> str:
        """Return the layout as text, for the command line of pid 1."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the layout that `to_json` wrote."""
        values = json.loads(text)
        return cls(
            slot=values["slot"],
            network=values["network"],
            cache=Path(values["cache"]),
            binaries=Path(values["binaries"]),
        )


def node_name(slot: int) -> str:
    """Return the name that everything of a slot carries."""
    return f"towpath-{slot}"
