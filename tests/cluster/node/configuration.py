"""Writes the configuration files of the parts; each odd value says what forces it."""

import json

from tests.cluster.node.layout import (
    CNI_PLUGINS,
    CONTAINERD_SOCKET,
    DOMAIN,
    PAUSE_IMAGE,
    PODS,
    SERVICES,
    Layout,
)

# No oom_score_adj below the starter's: that needs a capability which a container's root lacks.
CONTAINERD = """\
version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plugins}"
  conf_dir = "{networks}"
"""

COREDNS = """\
.:53 {{
    bind {address}
    errors
    kubernetes {domain} {services} {pods} {{
        kubeconfig {kubeconfig} {context}
    }}
    cache 5
}}
"""


def write_configuration(layout: Layout) -> None:
    """Write every file that `parts` names."""
    networks = layout.configuration / "networks"
    networks.mkdir(parents=True, exist_ok=True)
    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.state.mkdir(parents=True, exist_ok=True)
    files = {
        "containerd.toml": CONTAINERD.format(
            root=layout.state / "containerd",
            socket=CONTAINERD_SOCKET,
            pause=PAUSE_IMAGE,
            plugins=CNI_PLUGINS,
            networks=networks,
        ),
        "Corefile": COREDNS.format(
            address=layout.address,
            domain=DOMAIN,
            services=SERVICES,
            pods=PODS,
            kubeconfig=layout.configuration / "coredns.json",
            context=layout.name,
        ),
        "kubelet-configuration.json": json.dumps(_kubelet(layout), indent=2),
        "kube-proxy-configuration.json": json.dumps(_kube_proxy(layout), indent=2),
        "networks/10-pods.conflist": json.dumps(_pod_network(layout), indent=2),
        # The node knows no name server but its own, so a pod with dnsPolicy Default has that too.
        "resolv.conf": f"nameserver {layout.address}\n",
    }
    for name, content in files.items():
        (layout.configuration / name).write_text(content)


def _kubelet(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}",
        "cgroupsPerQOS": True,
        "clusterDNS": [layout.address],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "enforceNodeAllocatable": ["pods"],
        # An image that is collected here cannot be pulled again, so nothing is ever collected.
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "podLogsDir": str(layout.state / "pod-logs"),
        "registerNode": True,
        "resolvConf": str(layout.configuration / "resolv.conf"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
    }


def _kube_proxy(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": layout.name,
        "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": str(layout.configuration / "kube-proxy.json")},
        # These are sysctls of the whole machine: zero leaves them alone.
        "conntrack": {
            "maxPerCore": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        # At the defaults a Service answers a second or more after its pod is ready.
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    }


def _pod_network(layout: Layout) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(layout.state / "pod-addresses"),
    }
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}
