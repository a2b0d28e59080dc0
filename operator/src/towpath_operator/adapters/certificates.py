"""Lends libpq the certificates of a target: it reads them from a file only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from towpath_operator.model.uri_parts import DatabaseUri
from towpath_operator.plan.observed import DatabaseTarget


@contextmanager
def uri_with_certificates(target: DatabaseTarget) -> Iterator[str]:
    """Lend the operator's URI, which a connection can be opened by until the end of the block.

    The file is in this process's memory alone: the container's file system is read only, and nothing
    is left behind however the process ends.
    """
    if target.ca is None:
        yield target.uri
        return
    descriptor = os.memfd_create("towpath-ca")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(target.ca.encode())
        yield str(DatabaseUri.parse(target.uri).trusting(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)
