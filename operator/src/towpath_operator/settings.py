"""The operator's own settings, from its environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath_operator.work_queue import RESYNC_SECONDS

DEFAULT_PORT: Final = 8686
LONGEST_RESYNC: Final = 3600.0
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator is told from outside.

    Attributes:
        namespace: Where it runs; the second place where a databaseRef is looked for.
        kubeconfig: How it reaches the cluster; None is as a pod of it.
        port: Where /healthz and /readyz are served; 0 takes a free one.
        default_image: The image of pools whose template names none.
        pod_name: The name under which it publishes Events.
        log_level: The least level that is logged.
        resync: After how many seconds everything is listed and looked at again, without any event.
        namespaces: The namespaces that are watched, its own among them; empty is all.
        cluster_uid: What names this cluster in the rows of queues; None asks the cluster.
    """

    namespace: str
    kubeconfig: Path | None = None
    port: int = DEFAULT_PORT
    default_image: str | None = None
    pod_name: str = "towpath-operator"
    log_level: str = "INFO"
    resync: float = RESYNC_SECONDS
    namespaces: tuple[str, ...] = ()
    cluster_uid: str | None = None


class SettingsError(Exception):
    """A setting cannot be what it is; the message names it and what it may be."""


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: naming the variable that is wrong or missing.
    """
    kubeconfig = environment.get("TOWPATH_OPERATOR_KUBECONFIG")
    port = environment.get("TOWPATH_OPERATOR_PORT", str(DEFAULT_PORT))
    if not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - the last port there is
        raise SettingsError(f"TOWPATH_OPERATOR_PORT is {port!r}; it must be a port, 0 to 65535.")
    namespace = environment.get("TOWPATH_OPERATOR_NAMESPACE") or _own_namespace()
    return Settings(
        namespace=namespace,
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        port=int(port),
        default_image=environment.get("TOWPATH_OPERATOR_DEFAULT_IMAGE") or None,
        pod_name=environment.get("TOWPATH_OPERATOR_POD_NAME") or socket.gethostname(),
        log_level=_log_level(environment.get("TOWPATH_OPERATOR_LOG_LEVEL", "INFO")),
        namespaces=_namespaces(environment.get("TOWPATH_OPERATOR_NAMESPACES", ""), namespace),
        cluster_uid=environment.get("TOWPATH_OPERATOR_CLUSTER_UID") or None,
        resync=_resync(environment.get("TOWPATH_OPERATOR_RESYNC_SECONDS", str(RESYNC_SECONDS))),
    )


def _own_namespace() -> str:
    try:
        return NAMESPACE_FILE.read_text("utf-8").strip()
    except OSError:
        raise SettingsError(
            "TOWPATH_OPERATOR_NAMESPACE is not set and this is no pod; set it to the namespace that "
            "holds the default QueueDatabase."
        ) from None


def _namespaces(told: str, own: str) -> tuple[str, ...]:
    """Return the namespaces to watch; a databaseRef is looked for in our own too, so it is one."""
    named = {name.strip() for name in told.split(",") if name.strip()}
    wrong = sorted(name for name in named if not _NAMESPACE.fullmatch(name))
    if wrong:
        raise SettingsError(
            f"TOWPATH_OPERATOR_NAMESPACES has {wrong[0]!r}; it must be names of namespaces, separated "
            "by commas, and empty for all of them."
        )
    return tuple(sorted({*named, own})) if named else ()


def _resync(told: str) -> float:
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= LONGEST_RESYNC:
        raise SettingsError(
            f"TOWPATH_OPERATOR_RESYNC_SECONDS is {told!r}; it must be a number of seconds, 1 to "
            f"{LONGEST_RESYNC:.0f}."
        )
    return seconds


def _log_level(name: str) -> str:
    allowed = ("DEBUG", "INFO", "WARNING", "ERROR")
    if name.upper() not in allowed:
        raise SettingsError(
            f"TOWPATH_OPERATOR_LOG_LEVEL is {name!r}; it must be one of {', '.join(allowed)}."
        )
    return name.upper()
