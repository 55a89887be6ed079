"""The form of the job `provision`: one request, its kind chosen first; what Dagster's pages show.

Here: the kinds that may be asked for in the Launchpad, and turning the form into a request. Not
here: the job (`provision`).

What is typed here stays in Dagster's records, so there are object ids and no names in it: kinds
that are about names and people's properties are filed on the command line, and launched by id.
Nothing is filled in beforehand, and a run only shows its plan unless it is told to apply it.
"""

import enum
from datetime import datetime
from typing import Any, Final, Literal

import dagster as dg
from pydantic import Field

from entra_pipeline.provisioning import canonical, files
from entra_pipeline.provisioning.identities import LAUNCHPAD
from entra_pipeline.provisioning.values import Request, Source

_REASON: Final = "Why: a ticket's number, say. Dagster keeps it: no names."
_USER: Final = "Object id of the user."


class GroupAccess(dg.Config):
    """Membership or ownership of a group."""

    type: Literal["group"] = "group"
    group_id: str = Field(description="Object id of the group.")
    relation: str = Field(description="member or owner.")


class AppAccess(dg.Config):
    """An app role of an application."""

    type: Literal["app"] = "app"
    service_principal_id: str = Field(description="Object id of the enterprise application.")
    app_role_id: str = Field(
        description="Id of the app role; 00000000-0000-0000-0000-000000000000: default access."
    )


class RoleAccess(dg.Config):
    """A directory role at a scope."""

    type: Literal["role"] = "role"
    role_definition_id: str = Field(description="Id of the role definition.")
    scope: str = Field(description="/, /administrativeUnits/<id> or /<object id>.")


class LicenseAccess(dg.Config):
    """A licence."""

    type: Literal["license"] = "license"
    sku_id: str = Field(description="Id of the SKU.")
    disabled_plans: list[str] = Field(description="Ids of service plans not to be given.")


class Held(enum.Enum):
    """How access is held."""

    direct = "direct"
    pim_active = "pim_active"
    pim_eligible = "pim_eligible"


class Grant(dg.Config):
    """Give a principal access."""

    kind: Literal["grant"] = "grant"
    principal_id: str = Field(description="Object id of the user, group or service principal.")
    access: GroupAccess | AppAccess | RoleAccess | LicenseAccess = Field(discriminator="type")
    mode: Held = Field(Held.direct, description="Held for good, or by PIM.")
    expires_at: str | None = Field(None, description="When it ends: 2026-12-31T00:00:00Z.")
    duration: str | None = Field(None, description="Or how long it lasts: 8h, 90d.")
    not_before: str | None = Field(None, description="Not given earlier: 2026-12-01T08:00:00Z.")
    emergency: bool = Field(
        False,
        description=(
            "Without approval, where the policy lets `launchpad`; with a short duration, told to "
            "people and reviewed by somebody."
        ),
    )
    reason: str = Field(description=_REASON)


class Revoke(dg.Config):
    """Take a principal's access away."""

    kind: Literal["revoke"] = "revoke"
    principal_id: str = Field(description="Object id of the user, group or service principal.")
    access: GroupAccess | AppAccess | RoleAccess | LicenseAccess = Field(discriminator="type")
    mode: Held = Field(Held.direct, description="Held for good, or by PIM.")
    not_before: str | None = Field(None, description="Not taken earlier: 2026-12-01T08:00:00Z.")
    reason: str = Field(description=_REASON)


class DeleteUser(dg.Config):
    """Move an account to the recycle bin."""

    kind: Literal["delete_user"] = "delete_user"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class RestoreUser(dg.Config):
    """Take an account out of the recycle bin."""

    kind: Literal["restore_user"] = "restore_user"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class RotatePassword(dg.Config):
    """Set a new random password, sealed to the configured recipients."""

    kind: Literal["rotate_password"] = "rotate_password"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class EnableUser(dg.Config):
    """Let an account sign in."""

    kind: Literal["enable_user"] = "enable_user"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class DisableUser(dg.Config):
    """Keep an account from signing in."""

    kind: Literal["disable_user"] = "disable_user"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class RevokeSessions(dg.Config):
    """End an account's sessions."""

    kind: Literal["revoke_sessions"] = "revoke_sessions"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class RevokeMfa(dg.Config):
    """Remove an account's methods of multi-factor authentication."""

    kind: Literal["revoke_mfa"] = "revoke_mfa"
    user_id: str = Field(description=_USER)
    reason: str = Field(description=_REASON)


class Offboard(dg.Config):
    """Take all access of somebody who leaves: one plan, the account first."""

    kind: Literal["offboard"] = "offboard"
    user_id: str = Field(description=_USER)
    hand_over_to: str | None = Field(
        None, description="Object id of who gets what only the leaver owns; else the manager."
    )
    reason: str = Field(description=_REASON)


class FiledBefore(dg.Config):
    """A request that was filed on the command line, with all that was filed with it."""

    kind: Literal["filed"] = "filed"
    request_id: str = Field(description="The request's id: req_…")


class Mode(enum.Enum):
    """What a run does."""

    dry_run = "dry_run"
    apply = "apply"


class Form(dg.Config):
    """One request."""

    mode: Mode = Field(
        Mode.dry_run, description="dry_run shows the plan; apply files, plans and carries out."
    )
    request: (
        Grant
        | Revoke
        | DeleteUser
        | RestoreUser
        | RotatePassword
        | EnableUser
        | DisableUser
        | RevokeSessions
        | RevokeMfa
        | Offboard
        | FiledBefore
    ) = Field(discriminator="kind", description="What is asked for.")


def request_of(form: Form, now: datetime) -> tuple[Request, str]:
    """The request that a form is, and a key that the same form always has.

    Raises RequestError, a line for each thing wrong with it.
    """
    fields = _plain(form.request)
    request = files.request(fields, asked_by=LAUNCHPAD, now=now, source=Source.LAUNCHPAD)
    return request, f"launchpad-{canonical.digest(canonical.text(fields))[:40]}"


def _plain(config: dg.Config) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if value is None or value is False:
            continue
        if isinstance(value, dg.Config):
            value = _plain(value)
        elif isinstance(value, enum.Enum):
            value = value.value
        fields[name] = value
    return fields
