"""The ControllerRevision that keeps a rendered pod template, under a name made from its content.

The API server lets nobody change what a ControllerRevision holds; one that was made anew by a hand
betrays itself by its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.ports.cluster import CONTROLLER_REVISION, Manifest
from towpath_operator.render.metadata import child_metadata
from towpath_operator.render.names import BUILD_ID_LABEL, canonical_json, hash_of, with_applied
from towpath_operator.render.shapes import Json

HASH_LENGTH: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A pod template as some operator rendered it.

    Attributes:
        number: Rises with each revision of the pool.
        inputs: The hash of what it was rendered from (`render.facts.inputs_hash`).
        template: The pod template; a user may have written a password into it.
    """

    number: int
    inputs: str
    template: Json = field(repr=False)

    @property
    def data(self) -> Json:
        """What the ControllerRevision holds; the template as a text, which no API server rewrites."""
        return {"inputs": self.inputs, "template": canonical_json(self.template)}

    @property
    def build_id(self) -> str:
        """Which of the user's templates it was made from."""
        labels = (self.template.get("metadata") or {}).get("labels") or {}
        return str(labels.get(BUILD_ID_LABEL, ""))

    def name(self, pool: WorkerPool) -> str:
        """Return the name, which the content gives."""
        return f"{pool.metadata.name}-{hash_of(self.data)[:HASH_LENGTH]}"


def render_revision(pool: WorkerPool, revision: Revision) -> Json:
    """Return the ControllerRevision of a rendered template."""
    return with_applied(
        {
            "apiVersion": CONTROLLER_REVISION.api_version,
            "kind": CONTROLLER_REVISION.name,
            "metadata": child_metadata(pool, revision.name(pool), revision.build_id),
            "data": revision.data,
            "revision": revision.number,
        }
    )


def read_revision(pool: WorkerPool, live: Manifest) -> Revision | None:
    """Read a ControllerRevision; None where its content is not what its name was made from."""
    data = live.get("data")
    if not isinstance(data, dict):
        return None
    try:
        template = json.loads(data["template"])
        revision = Revision(
            number=int(live.get("revision", 0)), inputs=str(data["inputs"]), template=template
        )
    except (KeyError, TypeError, ValueError):
        return None
    genuine = isinstance(template, dict) and revision.name(pool) == live["metadata"]["name"]
    return revision if genuine else None
