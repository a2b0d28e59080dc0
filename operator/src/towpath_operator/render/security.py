"""The restricted Pod Security Standard, filled in where a template is silent."""

from __future__ import annotations

from towpath_operator.render.shapes import Json, TemplateError, object_at

ROOT_CAPABILITIES = frozenset({"SYS_ADMIN", "CAP_SYS_ADMIN"})


def secure_pod(spec: Json, path: str) -> None:
    """Fill in what holds for the whole pod."""
    context = object_at(spec, "securityContext", path)
    spec["securityContext"] = context
    if context.get("runAsUser") != 0:
        context.setdefault("runAsNonRoot", True)
    context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    spec.setdefault("automountServiceAccountToken", False)


def secure_container(container: Json, path: str) -> None:
    """Fill in what holds for one container."""
    context = object_at(container, "securityContext", path)
    container["securityContext"] = context
    if context.get("runAsUser") == 0:
        context.setdefault("runAsNonRoot", False)
    here = f"{path}.securityContext"
    capabilities = object_at(context, "capabilities", here)
    added = capabilities.get("add") or []
    if not isinstance(added, list):
        raise TemplateError(f"{here}.capabilities.add", "must be a list")
    # The API refuses a ban on escalation beside what implies it.
    if not context.get("privileged") and not ROOT_CAPABILITIES & set(map(str, added)):
        context.setdefault("allowPrivilegeEscalation", False)
    context["capabilities"] = {"drop": ["ALL"], **capabilities}
