"""`patch`: a change of a workflow's code that workflows in flight do not notice."""

from __future__ import annotations

from towpath.api.messaging import in_workflow
from towpath.domain.errors import UsageError
from towpath.domain.ids import MAX_NAME_LENGTH, storable_text
from towpath.executor import patching
from towpath.executor.context import refuse_blocking
from towpath.executor.steps import Blocking, Suspending
from towpath.store.session import run_blocking


class PatchesWorkflows:
    """What only a workflow's own code may ask; an App has it."""

    def patch(self, name: str) -> bool:
        """Tell a workflow whether to go the new way: False in runs that had passed here without it.

        The answer is the same in every attempt. Once no run from before is open, `deprecate_patch`
        takes its place, and goes in turn once no run with the marker is open.

        Args:
            name: Names the change; another one at each change.

        Raises:
            OutsideWorkflowError: the caller is not a workflow's own code.
            UsageError: the name cannot be one.
        """
        refuse_blocking("patch", "patch_async(...)")
        execution = in_workflow("patch")
        return run_blocking(patching.patch(execution, _check_name("patch", name), Blocking()))

    async def patch_async(self, name: str) -> bool:
        """As `patch`, in an async workflow."""
        execution = in_workflow("patch")
        return await patching.patch(execution, _check_name("patch", name), Suspending())

    def deprecate_patch(self, name: str) -> None:
        """Stand where a patch was whose old way is gone: runs that have its marker go on.

        Raises:
            OutsideWorkflowError: the caller is not a workflow's own code.
            UsageError: the name cannot be one.
        """
        execution = in_workflow("deprecate_patch")
        patching.deprecate_patch(execution, _check_name("deprecate_patch", name))

    async def deprecate_patch_async(self, name: str) -> None:
        """As `deprecate_patch`, in an async workflow; there it may be called as well."""
        self.deprecate_patch(name)


def _check_name(verb: str, name: object) -> str:
    if isinstance(name, str) and 1 <= len(name) <= MAX_NAME_LENGTH and storable_text(name):
        return name
    shown = name[:40] if isinstance(name, str) else name
    raise UsageError(
        f"{verb}: name is {shown!r}; allowed is a str of 1 to {MAX_NAME_LENGTH} characters, without "
        "NUL or lone surrogates."
    )
