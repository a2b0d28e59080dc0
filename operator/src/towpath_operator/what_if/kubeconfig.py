"""Reads a kubeconfig as kubectl does: which server, by which login, in which namespace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubernetes import client as api
from kubernetes import config

from towpath_operator.adapters.kubernetes import bounded
from towpath_operator.ports.cluster import ClusterError

DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A connection to a cluster, and the namespace that the context names."""

    client: api.Configuration
    namespace: str


def configuration(kubeconfig: Path | None, context: str | None) -> Where:
    """Return where a kubeconfig leads to.

    Raises:
        ClusterError: it is not there, or has no such context.
    """
    settings = api.Configuration()
    file = None if kubeconfig is None else str(kubeconfig)
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=file, context=context, client_configuration=settings
        )
        contexts, active = config.list_kube_config_contexts(  # type: ignore[no-untyped-call]
            config_file=file
        )
    except config.ConfigException as error:
        raise ClusterError(f"the kubeconfig cannot be used: {error}", status=0) from None
    chosen = next((one for one in contexts if one["name"] == context), active)
    namespace = str(chosen["context"].get("namespace") or DEFAULT_NAMESPACE)
    return Where(client=bounded(settings), namespace=namespace)
