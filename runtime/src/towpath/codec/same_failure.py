"""Whether a workflow failed with what one of its steps failed with, as their records tell."""

from __future__ import annotations

import json
from typing import Final

from towpath.domain.errors import StepFailedError

_STAND_IN: Final = f"{StepFailedError.__module__}:{StepFailedError.__qualname__}"


def is_raised_by(failure: str, step_failure: str) -> bool:
    """Tell whether a workflow's failure is what a replay of the step would raise: same type and args."""
    try:
        ended, step = json.loads(failure), json.loads(step_failure)
        if (ended["type"], ended["args"]) == (step["type"], step["args"]):
            return True
        # a class that was not imported was raised as StepFailedError
        fields = ended["attributes"]
        return ended["type"] == _STAND_IN and (
            (fields["type"], fields["message"]) == (step["type"], step["message"])
        )
    except (KeyError, TypeError, ValueError):
        return False
