"""The chart as helm renders it, for tests to look into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from tests.cluster import Cluster
from tests.operator.running import ROOT

CHART = ROOT / "charts/towpath"
NAMESPACE = "towpath-system"
Object = dict[str, Any]


def render(
    cluster: Cluster, *settings: str, release: str = "towpath", apis: Iterable[str] = ()
) -> list[Object]:
    """Render the chart as `helm install` would, and return its objects."""
    flags = [f"--set={setting}" for setting in settings] + [f"--api-versions={api}" for api in apis]
    text = cluster.helm(
        "template",
        release,
        str(CHART),
        f"--namespace={NAMESPACE}",
        "--kube-version=1.31.0",
        *flags,
    )
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    """Return the objects of a kind."""
    return [one for one in objects if one["kind"] == kind]


def the(objects: Iterable[Object], kind: str, name: str = "towpath") -> Object:
    """Return the object of a kind and name."""
    return next(one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)


def rights(rules: Iterable[Object]) -> Iterator[tuple[str, str, str]]:
    """Yield each group, resource and verb that some rules give."""
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb
