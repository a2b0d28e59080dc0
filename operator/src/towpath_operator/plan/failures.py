"""Says what a refusal by the cluster means for the object whose plan asked for it."""

from __future__ import annotations

from typing import Final

from towpath_operator.model.conditions import Reason
from towpath_operator.plan.actions import (
    Action,
    ApplyObject,
    CheckObject,
    CreateObject,
    Failure,
)
from towpath_operator.plan.children import name_taken
from towpath_operator.plan.pods import refusal_reason
from towpath_operator.plan.refusals import in_users_terms
from towpath_operator.ports.cluster import DEPLOYMENT, SECRET, AlreadyExists, ClusterError

_FORBIDDEN: Final = 403
_REFUSED: Final = frozenset({400, _FORBIDDEN, 422})
_WRONG_TYPE: Final = "failed to create typed patch object"
"""How the API server says, with HTTP 500, that an apply has a field of a wrong type or name."""

_NAMESPACE_GOES: Final = "because it is being terminated"
_MESSAGE_LENGTH: Final = 500


def explain(action: Action, error: ClusterError) -> Failure:
    """Return the failure that a cluster's refusal of an action is."""
    if not isinstance(action, CheckObject | CreateObject | ApplyObject):
        return Failure(reason=None, message=f"the cluster did not do it: {_words(error)}")
    if isinstance(error, AlreadyExists):
        blocked = name_taken(action.kind, action.key)
        return Failure(reason=blocked.reason, message=blocked.message)
    what = f"{action.kind.name} {action.key}"
    if action.kind == SECRET:
        # The API server may quote what it refuses, and here that holds a password.
        return Failure(reason=None, message=f"{what} was not written (HTTP {error.status})")
    reason = _reason(action, error)
    words = _words(error)
    if reason is Reason.TEMPLATE_REJECTED:
        words = in_users_terms(error.message, action.manifest)[:_MESSAGE_LENGTH]
        return Failure(reason=reason, message=f"The API server refuses the template: {words}")
    return Failure(reason=reason, message=f"{what} was refused: {words}")


def _reason(action: CheckObject | CreateObject | ApplyObject, error: ClusterError) -> Reason | None:
    refused = error.status in _REFUSED or error.message.startswith(_WRONG_TYPE)
    if not refused or _NAMESPACE_GOES in error.message:
        return None
    if action.kind != DEPLOYMENT or _lacks_rights(error):
        return refusal_reason(error.message)
    return refusal_reason(error.message) or Reason.TEMPLATE_REJECTED


def _lacks_rights(error: ClusterError) -> bool:
    """Tell a missing right of the operator's from an admission rule that refuses the template."""
    return error.status == _FORBIDDEN and " cannot " in error.message


def _words(error: ClusterError) -> str:
    return error.message[:_MESSAGE_LENGTH]
