"""Drafts of app roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from entra_pipeline.provisioning.actions.app_roles import (
    found,
    givers,
    held_url,
    resource_url,
)
from entra_pipeline.provisioning.drafts.base import Draft, access_operation
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.values import (
    DEFAULT_ACCESS,
    AppAccess,
    Grant,
    Revoke,
    Tier,
)
from entra_pipeline.tables.tiers import permission_tier

_MEMBER_TYPE: Final = {"users": "User", "groups": "User", "servicePrincipals": "Application"}


class AppRoles:
    """App roles, default access among them."""

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """The application, and what the principal has."""
        if segment not in _MEMBER_TYPE:
            return ()
        return (
            Read(resource_url(_of(body).service_principal_id)),
            Read(held_url(segment, body.principal_id)),
        )

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """Refused for roles that the application does not offer to that kind of principal."""
        access = _of(body)
        if segment not in _MEMBER_TYPE:
            return Draft(reasons=(f"{body.principal_id} is of a kind that has no app roles",))
        resource = facts.document(resource_url(access.service_principal_id))
        if resource is None:
            return Draft(
                reasons=(f"there is no enterprise application {access.service_principal_id}",)
            )
        role = _role(resource, access.app_role_id)
        if isinstance(body, Grant) and (reason := _unfit(resource, role, access, segment)):
            return Draft(reasons=(reason,))
        held = facts.items(held_url(segment, body.principal_id)) or []
        wanted = (body.principal_id, access.service_principal_id, access.app_role_id)
        tier = permission_tier(resource.get("appId"), (role or {}).get("value"))
        drafted = access_operation(
            filed,
            body,
            (Action.ASSIGN_APP_ROLE, Action.REMOVE_APP_ROLE),
            {
                "resource_id": access.service_principal_id,
                "app_role_id": access.app_role_id,
                "segment": segment,
            },
            holds=found(held, *wanted) is not None,
            tier=Tier.ORDINARY if tier is None else Tier(tier),
        )
        by = givers(held, *wanted)
        if isinstance(body, Revoke) and by:
            said = f"{body.principal_id} still has {access.entitlement_id} by group {', '.join(by)}"
            return replace(drafted, warnings=(*drafted.warnings, said))
        return drafted


def _of(body: Grant | Revoke) -> AppAccess:
    assert isinstance(body.access, AppAccess)  # noqa: S101 - chosen by it
    return body.access


def _role(resource: dict[str, Any], role_id: str) -> dict[str, Any] | None:
    return next((role for role in resource.get("appRoles") or () if role["id"] == role_id), None)


def _unfit(
    resource: dict[str, Any], role: dict[str, Any] | None, access: AppAccess, segment: str
) -> str | None:
    application = f"application {access.service_principal_id}"
    wanted = _MEMBER_TYPE[segment]
    offered = [
        each
        for each in resource.get("appRoles") or ()
        if each.get("isEnabled") and wanted in (each.get("allowedMemberTypes") or ())
    ]
    if access.app_role_id == DEFAULT_ACCESS:
        if offered:
            return f"{application} has roles for {segment}: ask for one of them, not default access"
        return None
    if role is None:
        return f"{application} has no app role {access.app_role_id}"
    if not role.get("isEnabled"):
        return f"app role {access.app_role_id} of {application} is disabled"
    if role not in offered:
        return f"app role {access.app_role_id} of {application} is not for {segment}"
    return None
