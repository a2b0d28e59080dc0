"""An operator that reaches the API server through a proxy alone."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster import Cluster
from tests.operator.api_proxy import ApiProxy
from tests.operator.running import OperatorProcess, kubeconfig_of_operator


@dataclass(frozen=True, slots=True)
class ProxiedOperator:
    """A running operator, and what it reaches the API server through."""

    process: OperatorProcess
    proxy: ApiProxy


@contextmanager
def proxy_of(kubeconfig: Path) -> Iterator[ApiProxy]:
    """Run a proxy before the API server that a kubeconfig names, and have that lead through it."""
    config = yaml.safe_load(kubeconfig.read_text())
    # Only the operator's answers are looked at here, not who gives them.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    server = config["clusters"][0]["cluster"]["server"]
    with ApiProxy(server, certificate_authority=anybody) as proxy:
        config["clusters"][0]["cluster"] = {"server": proxy.url}
        kubeconfig.write_text(yaml.safe_dump(config))
        yield proxy


@contextmanager
def proxied_operator(cluster: Cluster, folder: Path, *, resync: float) -> Iterator[ProxiedOperator]:
    """Run an operator behind a proxy, which looks at everything once in so many seconds."""
    kubeconfig = kubeconfig_of_operator(cluster, folder)
    settings = {"TOWPATH_OPERATOR_RESYNC_SECONDS": str(resync)}
    with proxy_of(kubeconfig) as proxy:
        process = OperatorProcess(kubeconfig, folder / "operator.log", settings)
        process.start()
        yield ProxiedOperator(process, proxy)
        if process.running:
            process.stop()
