"""Makes the keys, certificates and kubeconfigs of one node with openssl."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.node.layout import API_SERVICE, DOMAIN, Layout

DAYS = "30"
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
EXTENSIONS = """\
[ server ]
keyUsage = digitalSignature
extendedKeyUsage = serverAuth, clientAuth
{names}
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate says its holder is."""

    name: str
    subject: str
    authority: str = "ca"


def write_certificates(layout: Layout) -> None:
    """Write everything below `pki`, and a kubeconfig for each client."""
    layout.pki.mkdir(parents=True, exist_ok=True)
    _write_authority(layout.pki, "ca")
    _write_authority(layout.pki, "front-proxy-ca")
    _write_service_account_keys(layout.pki)
    clients = [
        Identity("admin", "/O=system:masters/CN=admin"),
        Identity("kube-controller-manager", "/CN=system:kube-controller-manager"),
        Identity("kube-scheduler", "/CN=system:kube-scheduler"),
        Identity("kube-proxy", "/CN=system:kube-proxy"),
        Identity("kubelet", f"/O=system:nodes/CN=system:node:{layout.name}"),
        # The built-in role for DNS lacks EndpointSlices; this is a cluster for tests.
        Identity("coredns", "/O=system:masters/CN=coredns"),
    ]
    others = [
        Identity("kube-apiserver", "/CN=kube-apiserver"),
        Identity("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        Identity("front-proxy", "/CN=front-proxy-client", "front-proxy-ca"),
    ]
    for identity in clients + others:
        _write_certificate(layout, identity)
    for identity in clients:
        _write_kubeconfig(layout, identity.name)


def _openssl(*arguments: str | Path) -> None:
    run("openssl", ["openssl", *arguments])


def _write_authority(folder: Path, name: str) -> None:
    files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]
    subject = ["-days", DAYS, "-subj", f"/CN={name}"]
    uses = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    _openssl("req", "-x509", *KEY, *files, *subject, *uses)


def _write_service_account_keys(folder: Path) -> None:
    private = folder / "service-account.key"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
    _openssl("ec", "-in", private, "-pubout", "-out", folder / "service-account.pub")


def _write_certificate(layout: Layout, identity: Identity) -> None:
    path = layout.pki / identity.name
    extensions = path.with_suffix(".cnf")
    extensions.write_text(EXTENSIONS.format(names=_alternative_names(layout, identity)))
    request = path.with_suffix(".csr")
    key = ["-keyout", str(path.with_suffix(".key")), "-out", str(request)]
    _openssl("req", "-new", *KEY, *key, "-subj", identity.subject)
    authority = layout.pki / identity.authority
    _openssl(
        *("x509", "-req", "-in", request, "-out", path.with_suffix(".crt"), "-days", DAYS),
        *("-CA", authority.with_suffix(".crt"), "-CAkey", authority.with_suffix(".key")),
        *("-CAcreateserial", "-extfile", extensions, "-extensions", "server"),
    )


def _alternative_names(layout: Layout, identity: Identity) -> str:
    if identity.name != "kube-apiserver":
        return ""
    service = "kubernetes.default.svc"
    names = ["localhost", "kubernetes", "kubernetes.default", service, f"{service}.{DOMAIN}"]
    addresses = ["127.0.0.1", layout.address, API_SERVICE]
    entries = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    return f"subjectAltName = {', '.join(entries)}"


def _write_kubeconfig(layout: Layout, name: str) -> None:
    def encoded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    server = {
        "server": layout.server,
        "certificate-authority-data": encoded(layout.pki / "ca.crt"),
    }
    user = {
        "client-certificate-data": encoded(layout.pki / f"{name}.crt"),
        "client-key-data": encoded(layout.pki / f"{name}.key"),
    }
    context = {"cluster": layout.name, "user": name, "namespace": "default"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.name, "cluster": server}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": layout.name, "context": context}],
        "current-context": layout.name,
    }
    path = layout.configuration / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    # JSON is YAML, and every client reads it.
    path.write_text(json.dumps(content, indent=2))
