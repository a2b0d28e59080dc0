"""The command of each part, the order in which they start, and how one tells that it works.

PURE: a layout goes in, a list comes out.
"""

from dataclasses import dataclass

from tests.cluster.node.layout import (
    API_PORT,
    CONTAINERD_SOCKET,
    DOMAIN,
    ETCD,
    ETCD_PEERS,
    SERVICES,
    Layout,
)

API_SERVER = "kube-apiserver"


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the node. `probe` is a URL that answers once the part works."""

    name: str
    argv: list[str]
    probe: str


def stages(layout: Layout) -> list[list[Part]]:
    """Return the parts in groups: a group starts when the one before it works."""
    return [
        [_containerd(layout), _etcd(layout)],
        [_api_server(layout)],
        [
            _controller_manager(layout),
            _scheduler(layout),
            _kubelet(layout),
            _proxy(layout),
            _dns(layout),
        ],
    ]


def _kubernetes(layout: Layout, name: str, *flags: str) -> list[str]:
    return [str(layout.binaries / "kubernetes"), name, *flags]


def _containerd(layout: Layout) -> Part:
    argv = ["containerd", "--config", str(layout.configuration / "containerd.toml")]
    return Part("containerd", argv, f"unix:{CONTAINERD_SOCKET}")


def _etcd(layout: Layout) -> Part:
    folder = f"--data-dir={layout.state / 'etcd'}"
    argv = _kubernetes(layout, "etcd", folder, f"--clients={ETCD}", f"--peers={ETCD_PEERS}")
    return Part("etcd", argv, f"{ETCD}/health")


def _api_server(layout: Layout) -> Part:
    pki = layout.pki
    argv = _kubernetes(
        layout,
        API_SERVER,
        f"--advertise-address={layout.address}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers={ETCD}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={pki / 'kube-apiserver.key'}",
        # By name it would ask DNS for the node first, and logs and exec would wait 20 s.
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
    )
    return Part(API_SERVER, argv, f"https://127.0.0.1:{API_PORT}/readyz")


def _clients(layout: Layout, name: str) -> list[str]:
    flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [f"--{flag}={layout.configuration / name}.json" for flag in flags]


def _controller_manager(layout: Layout) -> Part:
    name = "kube-controller-manager"
    argv = _kubernetes(
        layout,
        name,
        *_clients(layout, name),
        # With one replica an election only ends a process that was slow for ten seconds.
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--service-account-private-key-file={layout.pki / 'service-account.key'}",
        f"--cluster-signing-cert-file={layout.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={layout.pki / 'ca.key'}",
    )
    return Part(name, argv, "https://127.0.0.1:10257/healthz")


def _scheduler(layout: Layout) -> Part:
    name = "kube-scheduler"
    argv = _kubernetes(layout, name, *_clients(layout, name), "--leader-elect=false")
    return Part(name, argv, "https://127.0.0.1:10259/healthz")


def _kubelet(layout: Layout) -> Part:
    argv = _kubernetes(
        layout,
        "kubelet",
        f"--config={layout.configuration / 'kubelet-configuration.json'}",
        f"--kubeconfig={layout.configuration / 'kubelet.json'}",
        f"--root-dir={layout.state / 'kubelet'}",
        f"--cert-dir={layout.state / 'kubelet-pki'}",
        f"--hostname-override={layout.name}",
        f"--node-ip={layout.address}",
    )
    return Part("kubelet", argv, "http://127.0.0.1:10248/healthz")


def _proxy(layout: Layout) -> Part:
    configuration = layout.configuration / "kube-proxy-configuration.json"
    argv = _kubernetes(layout, "kube-proxy", f"--config={configuration}")
    return Part("kube-proxy", argv, "http://127.0.0.1:10256/livez")


def _dns(layout: Layout) -> Part:
    corefile = str(layout.configuration / "Corefile")
    argv = [str(layout.binaries / "coredns"), "-conf", corefile]
    return Part("coredns", argv, f"tcp:{layout.address}:53")
