"""`towpath dev` with the user's example of a declared queue, as it is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.rate_limited.observed import (
    FOLDER,
    MANIFEST,
    assert_within_limits,
    enqueue_operations,
)
from tests.local.dev_process import running_dev, write
from towpath import Client
from towpath.local.discovery import find_dev_url

OPERATIONS = 11


def test_the_users_manifest_holds_its_limits(open_folder: Path) -> None:
    """Workers from zero: at most 2 at once, at most 5 starts in any 10 s; the image plays no part."""
    shutil.copytree(FOLDER / "shop", open_folder / "shop")
    with running_dev(open_folder, "-f", write(open_folder, MANIFEST)) as dev:
        dev.hears("stop  Ctrl-C")
        url = find_dev_url(open_folder)
        assert url is not None
        with Client(url) as client:
            for handle in enqueue_operations(url, client, OPERATIONS):
                handle.get_result(timeout=60)
        assert_within_limits(url, OPERATIONS)
