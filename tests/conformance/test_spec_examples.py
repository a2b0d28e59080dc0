"""What the user asked for, as code: each example as it was given, in a script of its own.

Fewer workflows and shorter periods than there, where only those make it slow.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.test_processes import run

HEAD = """
import asyncio
import threading
import time

import towpath
from towpath import Queue, SetEnqueueOptions, SetWorkflowID

lock = threading.Lock()
events: list = []


def note(*event):
    with lock:
        events.append((time.monotonic(), *event))
"""

EXAMPLES = {
    "1 durable enqueue": """
email_queue = Queue("email")

@towpath.workflow()
def send_email(address: str, subject: str, body: str) -> str:
    note(address)
    return f"{subject} {body}"

if __name__ == "__main__":
    towpath.launch()
    user_id = 7
    with SetWorkflowID(f"email-{user_id}"):
        handle = email_queue.enqueue(send_email, "a@example.org", "Welcome!", "Thanks for signing up")
    with SetWorkflowID(f"email-{user_id}"):
        again = email_queue.enqueue(send_email, "a@example.org", "Welcome!", "Thanks for signing up")
    assert again.get_result() == handle.get_result() == "Welcome! Thanks for signing up"
    assert again.workflow_id == "email-7"
    assert len(events) == 1
""",
    "2 asyncio": """
email_queue = Queue("email")

@towpath.workflow()
async def send_email(address: str, subject: str, body: str) -> str:
    return address

async def enqueue_all(users):
    handles = [await email_queue.enqueue_async(send_email, u, "Newsletter", "News") for u in users]
    return [await h.get_result() for h in handles]

if __name__ == "__main__":
    towpath.launch()
    assert asyncio.run(enqueue_all(["a", "b", "c"])) == ["a", "b", "c"]
""",
    "3 concurrency": """
api_queue = Queue("external-api", concurrency=3)
inside, most = 0, 0

@towpath.workflow()
def call_external_api(path: str, data: dict) -> int:
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(0.05)
    with lock:
        inside -= 1
    return data["id"]

if __name__ == "__main__":
    towpath.launch()
    handles = [api_queue.enqueue(call_external_api, "/api/process", {"id": i}) for i in range(10)]
    assert [h.get_result() for h in handles] == list(range(10))
    assert most == 3, most
""",
    "4 limiter": """
throttled = Queue("rate-limited-api", concurrency=2, limiter={"limit": 5, "period": 1})

@towpath.workflow()
def rate_limited_operation(data: str) -> str:
    note(data)
    return data

if __name__ == "__main__":
    towpath.launch()
    handles = []
    for i in range(12):
        handles.append(throttled.enqueue(rate_limited_operation, f"data-{i}"))
    assert [h.get_result() for h in handles] == [f"data-{i}" for i in range(12)]
    starts = sorted(event[0] for event in events)
    assert all(later - first >= 1 for first, later in zip(starts, starts[5:])), starts
""",
    "5 priority": """
tasks = Queue("priority-tasks", priority_enabled=True)

@towpath.workflow()
def process_task(name: str) -> None:
    note(name)

if __name__ == "__main__":
    towpath.launch(queues=[], slots=1)
    with SetEnqueueOptions(priority=10): background = tasks.enqueue(process_task, "background-task")
    with SetEnqueueOptions(priority=50): normal = tasks.enqueue(process_task, "normal-task")
    with SetEnqueueOptions(priority=100): urgent = tasks.enqueue(process_task, "urgent-task")
    for wrong in (0, 2_147_483_648, "1", True):
        try:
            with SetEnqueueOptions(priority=wrong): tasks.enqueue(process_task, "no")
        except towpath.errors.EnqueueOptionError:
            continue
        raise AssertionError(wrong)
    assert len(towpath.list_workflows()) == 3
    towpath.shutdown()
    towpath.launch(slots=1)
    for handle in (background, normal, urgent):
        handle.get_result()
    assert [event[1] for event in events] == ["urgent-task", "normal-task", "background-task"]
""",
    "6 partitions": """
updates = Queue("user-updates", partition_queue=True)
other_began = threading.Event()

@towpath.workflow()
def update_user_data(user: str, data: dict) -> None:
    note(user, data)
    if data == {"name": "Alice"}:
        assert other_began.wait(20), "keys run side by side"
    if user == "user-456":
        other_began.set()
    note(user, "done")

if __name__ == "__main__":
    towpath.launch()
    handles = []
    with SetEnqueueOptions(queue_partition_key="user-123"): handles.append(updates.enqueue(update_user_data, "user-123", {"name": "Alice"}))
    with SetEnqueueOptions(queue_partition_key="user-123"): handles.append(updates.enqueue(update_user_data, "user-123", {"email": "a@example.org"}))
    with SetEnqueueOptions(queue_partition_key="user-456"): handles.append(updates.enqueue(update_user_data, "user-456", {"name": "Bob"}))
    for handle in handles:
        handle.get_result()
    mine = [event[2] for event in events if event[1] == "user-123"]
    assert mine == [{"name": "Alice"}, "done", {"email": "a@example.org"}, "done"], mine
""",
    "7 deduplication": """
payments = Queue("deduplicated-tasks")
go_on = threading.Event()

@towpath.workflow()
def process_payment(transaction: str, amount: float) -> float:
    go_on.wait(20)
    return amount

if __name__ == "__main__":
    towpath.launch()
    with SetEnqueueOptions(deduplication_id="txn-12345"):
        first = payments.enqueue(process_payment, "txn-12345", 99.99)
    try:
        with SetEnqueueOptions(deduplication_id="txn-12345"):
            payments.enqueue(process_payment, "txn-12345", 99.99)
    except towpath.errors.QueueDeduplicatedError as e:
        assert e.workflow_id == first.workflow_id
        same = towpath.retrieve_workflow(e.workflow_id)
    go_on.set()
    assert same.get_result() == 99.99
    with SetEnqueueOptions(deduplication_id="txn-12345"):
        assert payments.enqueue(process_payment, "txn-12345", 1.5).get_result() == 1.5
""",
    "9 polling interval": """
fast = Queue("fast-polling", polling_interval_sec=0.5)
slow = Queue("slow-polling", polling_interval_sec=5.0)

@towpath.workflow()
def task() -> str:
    return "ran"

if __name__ == "__main__":
    towpath.launch()
    assert [queue.enqueue(task).get_result() for queue in (fast, slow)] == ["ran", "ran"]
""",
}


@pytest.mark.parametrize("code", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_example_runs(empty_database_url: str, tmp_path: Path, code: str) -> None:
    """By `launch()`, on a database that is empty before."""
    run(HEAD + code, tmp_path, {"TOWPATH_DATABASE_URL": empty_database_url})
