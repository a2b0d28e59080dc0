"""Brings one object into force: parse, observe, plan, execute, status. Nothing here decides."""

from __future__ import annotations

import logging
from typing import Final

from towpath_operator.account import Account, account_of
from towpath_operator.declarations import Subject, parse
from towpath_operator.desk import NotLookedYet
from towpath_operator.execute import run_actions, write_status
from towpath_operator.metrics import Outcome
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.errors import ManifestError
from towpath_operator.model.metadata import read_metadata
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.observe import observe_queue, observe_queue_database, observe_worker_pool
from towpath_operator.plan.actions import Failure, Plan
from towpath_operator.plan.database import plan_queue_database
from towpath_operator.plan.deletion import let_go_unread
from towpath_operator.plan.observed import Declared
from towpath_operator.plan.queue import plan_queue
from towpath_operator.plan.status import failed, invalid
from towpath_operator.plan.workerpool import plan_worker_pool
from towpath_operator.ports.cluster import ClusterError
from towpath_operator.services import Services
from towpath_operator.work_queue import Again

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS: Final = 15.0


async def reconcile(subject: Subject, services: Services) -> Again:
    """Bring the cluster and the database to what the object asks for, and say so in its status."""
    with account_of(subject, told=not services.foretells) as account:
        try:
            return await _reconcile(subject, services, account)
        except NotLookedYet:
            account.waits(services.memory)
            # The database's loop wakes us once it has looked; this is for a wake that was lost.
            return Again(after=LOOK_AGAIN_SECONDS)
        except ClusterError as error:
            account.outcome = Outcome.RETRY
            told = {"object": str(subject), "error": error.message}
            logger.warning("cluster refused", extra=told)
            return Again(retry=True, at_least=error.retry_after)


async def _reconcile(subject: Subject, services: Services, account: Account) -> Again:
    manifest = await services.cluster.get(subject.kind, subject.key)
    if manifest is None:
        account.outcome = Outcome.GONE
        services.memory.forget(subject)
        return Again(drop=True)
    account.began(read_metadata(manifest), services.memory)
    try:
        declared = parse(subject.kind, manifest)
    except ManifestError as error:
        plan = let_go_unread(manifest, invalid(manifest, error, services.clock()))
        failure = await run_actions(account.planned(plan), subject, services)
        account.settled(plan, failure)
        if failure is None:
            await write_status(plan, manifest, subject, services)
        return Again(retry=failure is not None)
    if declared.metadata.held and services.hold is not None:
        await services.hold(declared, manifest, subject, services)
        return Again()
    plan, failure = await _carry_out(declared, subject, services, account)
    account.settled(plan, failure)
    if failure is not None:
        plan = failed(declared, plan, failure, services.clock())
    await write_status(plan, manifest, subject, services)
    after = None if plan.requeue_after is None else plan.requeue_after.total_seconds()
    if failure is not None:
        return Again(retry=True, at_least=failure.retry_after)
    return Again(after=after)


async def _carry_out(
    declared: Declared, subject: Subject, services: Services, account: Account
) -> tuple[Plan, Failure | None]:
    """Plan and execute; a bug is a failure like others, so that the object's status tells of it."""
    plan = Plan(status=dict(declared.status))
    try:
        plan = account.planned(await make_plan(declared, services, account))
        return plan, account.executed(await run_actions(plan, subject, services))
    except (ClusterError, NotLookedYet):
        raise
    except Exception as error:
        account.outcome = Outcome.BUG
        logger.exception("reconcile failed", extra={"object": str(subject)})
        message = f"the operator failed ({type(error).__name__}); its log has the rest"
        return plan, Failure(reason=None, message=message)


async def make_plan(declared: Declared, services: Services, account: Account) -> Plan:
    """Observe an object and plan for it."""
    match declared:
        case Queue():
            queue = account.observed(await observe_queue(declared, services))
            return plan_queue(declared, queue, services.clock())
        case WorkerPool():
            pool = account.observed(await observe_worker_pool(declared, services))
            plan = plan_worker_pool(declared, pool, services.clock())
            services.memory.planned(declared.metadata.key, plan)
            return plan
        case QueueDatabase():
            database = account.observed(observe_queue_database(declared, services))
            return plan_queue_database(declared, database, services.clock())
