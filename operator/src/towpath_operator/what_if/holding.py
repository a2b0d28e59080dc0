"""Holds an object whose annotation asks for a plan alone: says what would be done, and does nothing."""

from __future__ import annotations

from typing import Final

from towpath_operator.declarations import Subject
from towpath_operator.execute import write_status
from towpath_operator.plan.observed import Declared
from towpath_operator.plan.status import held
from towpath_operator.ports.cluster import Manifest
from towpath_operator.services import Services
from towpath_operator.what_if.page import to_line
from towpath_operator.what_if.planning import WhatIf

MOST_LINES: Final = 50


async def hold(
    declared: Declared, manifest: Manifest, subject: Subject, services: Services
) -> None:
    """Write into the object's status what would be done for it.

    Raises:
        ClusterError: the cluster could not be asked.
    """
    question = WhatIf(services.cluster, services.databases, services.operator, services.clock)
    forecast = await question.ask([(subject.kind, manifest)])
    lines = [to_line(change) for change in forecast.changes[:MOST_LINES]]
    left_out = len(forecast.changes) - len(lines)
    if left_out:
        lines.append(f"and {left_out} more")
    plan = held(declared, lines, services.clock())
    await write_status(plan, manifest, subject, services)
