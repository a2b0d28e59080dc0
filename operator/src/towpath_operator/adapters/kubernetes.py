"""The Cluster port on the Kubernetes API: `kubernetes`' DynamicClient in a bounded pool of threads.

Discovery is left out: the few kinds of the port carry their plural, so a start costs no request and
writes no cache file. Answers are kept as plain JSON; the client's own types go no further than here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import urllib3
from kubernetes import client as api
from kubernetes import config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from towpath_operator import metrics
from towpath_operator.adapters.guarded_connections import guarded_pools
from towpath_operator.adapters.kubernetes_bodies import event_body, finalizers_patch
from towpath_operator.adapters.objects import identity
from towpath_operator.adapters.wire import yaml_of
from towpath_operator.ports.cluster import (
    FIELD_MANAGER,
    LEFT_TO_OTHERS,
    AlreadyExists,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
)

logger = logging.getLogger(__name__)

THREADS: Final = 8
TIMEOUT_SECONDS: Final = 10.0
PAGE: Final = 500
LONGEST_RETRY_AFTER: Final = 60.0
GONE: Final = 404
CONFLICT: Final = 409
UNPROCESSABLE: Final = 422
OWNERSHIP_TRIES: Final = 5
NO_DRY_RUN: Final = "does not support dry run"
CLUSTER_SCOPED: Final = frozenset({"namespaces", "customresourcedefinitions"})

T = TypeVar("T")

_APPLY = "application/apply-patch+yaml"
_YAML = "application/yaml"
_JSON_PATCH = "application/json-patch+json"


class _NoDiscovery:
    """Stands where DynamicClient expects a discoverer; this adapter builds its own paths."""

    def __init__(self, client: object, cache_file: object) -> None:
        """Discover nothing."""


def client_configuration(kubeconfig: Path | None = None) -> api.Configuration:
    """Return the connection of a pod to its cluster, or the one that a kubeconfig names."""
    settings = api.Configuration()
    if kubeconfig is None:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    else:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(kubeconfig), client_configuration=settings
        )
    return bounded(settings)


def bounded(settings: api.Configuration) -> api.Configuration:
    """Have a client keep the port's bounds.

    One try a call: the work queue retries, with back-off, and a hidden retry would break the bound.
    """
    settings.retries = False
    settings.connection_pool_maxsize = THREADS
    return settings


def path_of(kind: Kind, *, namespace: str | None = None, name: str | None = None) -> str:
    """Return the REST path of an object, or of a collection."""
    prefix = "api" if "/" not in kind.api_version else "apis"
    scope = "" if namespace is None or kind.plural in CLUSTER_SCOPED else f"/namespaces/{namespace}"
    tail = "" if name is None else f"/{name}"
    return f"/{prefix}/{kind.api_version}{scope}/{kind.plural}{tail}"


def selector_of(labels: Mapping[str, str]) -> str:
    """Return a label selector; an empty value means that the label exists."""
    return ",".join(f"{key}={value}" if value else key for key, value in sorted(labels.items()))


class Requests:
    """Sends one request on the calling thread, and says in the port's words what went wrong."""

    def __init__(
        self, settings: api.Configuration, *, guard: Callable[[], None] = lambda: None
    ) -> None:
        """Connect when needed. `guard` is called just before a write is sent; what it raises stops it."""
        client = api.ApiClient(settings)
        client.rest_client.pool_manager.pool_classes_by_scheme = guarded_pools(guard)
        self._client = DynamicClient(client, discoverer=_NoDiscovery)  # type: ignore[no-untyped-call]

    def open(self, method: str, path: str, **params: Any) -> urllib3.HTTPResponse:
        """Send a request and return the response with its body unread.

        Raises:
            ClusterError: the server refused, or could not be reached in time.
        """
        params.setdefault("_request_timeout", TIMEOUT_SECONDS)
        with metrics.api_request("watch" if "watch" in params else method, path) as asked:
            try:
                response: urllib3.HTTPResponse = self._client.request(
                    method, path, serialize=False, **params
                )
            except ApiException as error:
                asked.code = int(error.status or 0)
                raise _refusal(error) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _unreachable(error) from error
            asked.code = response.status
        return response

    def send(self, method: str, path: str, **params: Any) -> dict[str, Any]:
        """Send a request and return the answer's JSON object."""
        response = self.open(method, path, **params)
        try:
            answer: dict[str, Any] = json.loads(response.data)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # A body that was cut off is no JSON: the connection is at fault, not the object.
            raise _unreachable(error) from error
        return answer

    def pages(self, path: str, *, label_selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return every object of a collection, read page by page, and its resource version."""
        items: list[dict[str, Any]] = []
        following: str | None = None
        while True:
            answer = self.send(
                "get",
                path,
                limit=PAGE,
                label_selector=label_selector or None,
                _continue=following,
            )
            items.extend(answer["items"])
            following = answer["metadata"].get("continue")
            if not following:
                return items, answer["metadata"].get("resourceVersion", "")


class KubernetesCluster:
    """Reads and changes a real cluster (see the port for what each verb means)."""

    def __init__(
        self, requests: Requests, *, instance: str = "operator", namespaces: Sequence[str] = ()
    ) -> None:
        """Work on some namespaces; none named is all. `instance` is who publishes Events."""
        self._requests = requests
        self._instance = instance
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kubernetes")

    def close(self) -> None:
        """Let the threads end once their calls have."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def drain(self, *, within: float) -> bool:
        """Begin no call any more; tell whether those under way have ended in so many seconds."""
        end = partial(self._threads.shutdown, wait=True, cancel_futures=True)
        ending = asyncio.get_running_loop().run_in_executor(None, end)
        done, _ = await asyncio.wait({ending}, timeout=within)
        return bool(done)

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object, or None where there is none."""
        path = path_of(kind, namespace=key.namespace, name=key.name)
        try:
            return await self._send("get", path)
        except ClusterError as error:
            if error.status == GONE:
                return None
            raise

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return the objects of a kind; a list's items get the kind that the API leaves out."""
        selector = selector_of(labels or {})
        places = self._namespaces if namespace is None else [namespace]
        paths = [path_of(kind, namespace=place) for place in places]
        calls = [partial(self._requests.pages, path, label_selector=selector) for path in paths]
        found = [await self._run(call) for call in calls]
        head = {"apiVersion": kind.api_version, "kind": kind.name}
        return [{**head, **item} for items, _ in found for item in items]

    async def create(self, manifest: Manifest) -> Manifest:
        """Make an object by POST.

        Raises:
            AlreadyExists: an object of that name exists.
        """
        kind, key = identity(manifest)
        path = path_of(kind, namespace=key.namespace)
        try:
            # As YAML the server writes it anew. The bytes of a ControllerRevision's data that it takes
            # from JSON are another's than its own, and it refuses every later patch for that.
            made = await self._send(
                "post",
                path,
                body=yaml_of(manifest),
                content_type=_YAML,
                field_manager=FIELD_MANAGER,
            )
        except ClusterError as error:
            if error.reason == "AlreadyExists":
                raise AlreadyExists(
                    error.message, status=error.status, reason=error.reason
                ) from error
            raise
        return await self._own_as_applier(f"{path}/{key.name}", made)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Apply on the server; fields that we send become ours, whoever had them."""
        kind, key = identity(manifest)
        path = path_of(kind, namespace=key.namespace, name=key.name)
        return await self._own_as_applier(path, await self._apply(path, manifest))

    async def check(self, manifest: Manifest) -> None:
        """Apply on the server without an effect."""
        kind, key = identity(manifest)
        path = path_of(kind, namespace=key.namespace, name=key.name)
        try:
            await self._apply(path, manifest, dry_run="All")
        except ClusterError as error:
            # A webhook that cannot be asked without an effect; it has its say in the apply itself.
            if NO_DRY_RUN not in error.message:
                raise

    async def leave(self, manifest: Manifest) -> None:
        """Apply fields as another manager's, so that our next apply may leave them out."""
        kind, key = identity(manifest)
        path = path_of(kind, namespace=key.namespace, name=key.name)
        await self._apply(path, manifest, field_manager=LEFT_TO_OTHERS)

    async def apply_status(self, kind: Kind, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Write the status subresource."""
        path = path_of(kind, namespace=key.namespace, name=key.name) + "/status"
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": status,
        }
        try:
            await self._apply(path, body)
        except ClusterError as error:
            if error.status != GONE:
                raise

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        """Delete the object; its dependents follow by garbage collection."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._send(
                "delete", path_of(kind, namespace=key.namespace, name=key.name), body=body
            )
        except ClusterError as error:
            # A conflict is the precondition: an object of another uid has the name now, ours is gone.
            if error.status not in {GONE, CONFLICT}:
                raise

    async def set_finalizers(
        self, kind: Kind, key: ObjectKey, *, uid: str, before: Sequence[str], after: Sequence[str]
    ) -> None:
        """Patch the list, if it is as it was read."""
        try:
            await self._send(
                "patch",
                path_of(kind, namespace=key.namespace, name=key.name),
                body=finalizers_patch(uid, before, after),
                content_type=_JSON_PATCH,
                field_manager=FIELD_MANAGER,
            )
        except ClusterError as error:
            if error.status != GONE:
                raise

    async def event(self, about: Manifest, *, reason: str, message: str, warning: bool) -> None:
        """Publish an Event about the object; a failure is logged and no more."""
        metadata = about["metadata"]
        namespace = metadata["namespace"]
        body = event_body(about, reason, message, warning=warning, instance=self._instance)
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        try:
            await self._send("post", path, body=body)
        except ClusterError as error:
            # In a namespace that goes, nobody is left to read it.
            level = logging.DEBUG if "being terminated" in error.message else logging.WARNING
            logger.log(level, "event not published", extra={"error": error.message})

    async def _apply(self, path: str, body: Manifest, **params: str) -> dict[str, Any]:
        options = {"field_manager": FIELD_MANAGER, "force_conflicts": "true", **params}
        return await self._send("patch", path, body=yaml_of(body), content_type=_APPLY, **options)

    async def _own_as_applier(self, path: str, live: dict[str, Any]) -> dict[str, Any]:
        """Turn the ownership that a POST gave us into that of an apply.

        A field that a POST owns outlives every later apply that leaves it out: a line taken out of a
        template would stay in the Deployment for ever.
        """
        for _ in range(OWNERSHIP_TRIES):
            patch = ownership_patch(live)
            if not patch:
                return live
            try:
                return await self._send("patch", path, body=patch, content_type=_JSON_PATCH)
            except ClusterError as error:
                # Its tests fail where another manager's entry came between.
                if error.status not in {CONFLICT, UNPROCESSABLE}:
                    raise
                live = await self._send("get", path)
        return live

    async def _send(self, method: str, path: str, **params: Any) -> dict[str, Any]:
        return await self._run(lambda: self._requests.send(method, path, **params))

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def ownership_patch(live: Manifest) -> list[dict[str, Any]]:
    """Return the JSON patch that makes fields of ours applied ones; empty where they are."""
    entries = live["metadata"].get("managedFields", [])
    ours = {
        entry["operation"]: index
        for index, entry in enumerate(entries)
        if entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")
    }
    if "Update" not in ours:
        return []
    place = f"/metadata/managedFields/{ours['Update']}"
    tests = [
        {"op": "test", "path": f"{place}/manager", "value": FIELD_MANAGER},
        {"op": "test", "path": f"{place}/operation", "value": "Update"},
    ]
    if "Apply" in ours:
        return [*tests, {"op": "remove", "path": place}]
    return [*tests, {"op": "replace", "path": f"{place}/operation", "value": "Apply"}]


def _refusal(error: ApiException) -> ClusterError:
    """Translate the API's Status answer; its text is the message, headers and bodies stay out."""
    status = int(error.status or 0)
    reason, message = "", f"the API server answered {status} {error.reason}"
    try:
        body = json.loads(error.body or "null")
    except ValueError:
        body = None
    if isinstance(body, dict):
        reason = str(body.get("reason") or "")
        message = str(body.get("message") or message)
    return ClusterError(message, status=status, reason=reason, retry_after=_retry_after(error))


def _retry_after(error: ApiException) -> float:
    """Return for how many seconds the API server asks to be left alone, bounded by a minute."""
    told = str((error.headers or {}).get("Retry-After") or "")
    return min(float(told), LONGEST_RETRY_AFTER) if told.isdecimal() else 0.0


def _unreachable(error: Exception) -> ClusterError:
    return ClusterError(
        f"the API server could not be reached: {type(error).__name__}",
        status=0,
        reason="Unreachable",
    )
