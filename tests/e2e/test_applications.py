"""Applications and images that do not work: the pods' own reason, where a person looks first."""

from __future__ import annotations

from tests.e2e import manifests
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client

ERROR = "ModuleNotFoundError: No module named 'a_package_that_the_image_lacks'"


def test_an_application_that_cannot_be_imported_says_why_and_a_corrected_one_runs(
    space: Space, client: Client, release: Release
) -> None:
    """ImportFailed with the error's last line on the pool and the queue; nothing enqueued is lost."""
    pool = manifests.workers(release.image, module="unimportable")
    space.apply(manifests.queue("imported", workers=pool))
    for kind in ("workerpool", "queue"):
        message = space.until_reason(kind, "imported", "ImportFailed")
        assert message.endswith(ERROR)
    assert "ImportFailed" in space.kubectl("get", "queues,workerpools")
    events = space.kubectl("get", "events", "--output=jsonpath={.items[*].reason}")
    assert "ImportFailed" in events.split()
    handle = client.enqueue("imported", "walk", 1, 0.0)
    assert handle.get_status().status == "ENQUEUED"
    space.patch("queue", "imported", {"spec": {"workers": {"application": "deeds"}}})
    assert handle.get_result(timeout=60)
    space.until_ready("queue", "imported")


def test_an_image_that_cannot_be_pulled_is_named(space: Space, release: Release) -> None:
    """ImagePull, with the kubelet's words."""
    pool = manifests.workers("localhost:1/nothing:1")
    space.apply(manifests.queue("pulled", workers=pool))
    assert "localhost:1/nothing:1" in space.until_reason("queue", "pulled", "ImagePull")
    assert release.rows("SELECT owner_name FROM towpath.queue WHERE name = 'pulled'") == [
        ("pulled",)
    ]
