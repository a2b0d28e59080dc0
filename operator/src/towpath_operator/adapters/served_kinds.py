"""Asks the API server whether it serves some kinds of one group."""

from __future__ import annotations

from collections.abc import Sequence

from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.ports.cluster import ClusterError, Kind


def serves(requests: Requests, kinds: Sequence[Kind]) -> bool:
    """Tell whether the kinds, all of one group and version, have their CRDs; a failure is a no."""
    try:
        found = requests.send("get", f"/apis/{kinds[0].api_version}")
    except ClusterError:
        return False
    return {kind.plural for kind in kinds} <= {one["name"] for one in found["resources"]}
