"""Plans as values: what would be written, on what it rests, and what comes of it.

Belongs here: the shape of a plan, its hash and its text as JSON. Does not belong here: how a plan
is made (`planning`), judged (`guards`, `policy`) or carried out (`applying`).

A plan follows from the requests, live facts and the policy alone. Its hash is what people approve.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.values import Guid, Tier, Value

FORMAT: Final = 1
"""Grows when plans of an older program must not be carried out by a newer one."""


class Action(StrEnum):
    """One kind of write."""

    ADD_GROUP_MEMBER = "add_group_member"
    REMOVE_GROUP_MEMBER = "remove_group_member"
    ADD_GROUP_OWNER = "add_group_owner"
    REMOVE_GROUP_OWNER = "remove_group_owner"
    ADD_EXCHANGE_MEMBER = "add_exchange_member"
    REMOVE_EXCHANGE_MEMBER = "remove_exchange_member"
    ADD_EXCHANGE_OWNER = "add_exchange_owner"
    REMOVE_EXCHANGE_OWNER = "remove_exchange_owner"
    ADD_APP_OWNER = "add_app_owner"
    REMOVE_APP_OWNER = "remove_app_owner"
    ASSIGN_APP_ROLE = "assign_app_role"
    REMOVE_APP_ROLE = "remove_app_role"
    ASSIGN_ROLE = "assign_role"
    REMOVE_ROLE = "remove_role"
    PIM_ASSIGN_ROLE = "pim_assign_role"
    PIM_REMOVE_ROLE = "pim_remove_role"
    PIM_ASSIGN_GROUP = "pim_assign_group"
    PIM_REMOVE_GROUP = "pim_remove_group"
    ASSIGN_LICENSE = "assign_license"
    REMOVE_LICENSE = "remove_license"
    CREATE_USER = "create_user"
    INVITE_GUEST = "invite_guest"
    DELETE_USER = "delete_user"
    RESTORE_USER = "restore_user"
    SET_PASSWORD = "set_password"  # noqa: S105 - the name of a kind, not a secret
    UPDATE_USER = "update_user"
    SET_MANAGER = "set_manager"
    REMOVE_MANAGER = "remove_manager"
    CHECK_UPN = "check_upn"
    CREATE_GROUP = "create_group"
    REVOKE_SESSIONS = "revoke_sessions"
    REMOVE_METHODS = "remove_methods"


class Condition(Value):
    """Something that was true when the plan was made, and must still be when it is carried out.

    `fact` names what was read (such as `group.kind`), `subject` the object that it was read of.
    """

    fact: str
    subject: str
    value: Any = None


class Inverse(Value):
    """The write that takes an operation back."""

    action: Action
    arguments: Mapping[str, Any] = Field(default_factory=dict)


class Operation(Value):
    """One write, with all that is needed to do it, judge it and take it back.

    `identity`: what it makes true or false, in Entra's own terms; `target_id`: the object that
    Graph changes (writes to one object never run side by side); `inverse` or `irreversible` (the
    reason).
    """

    position: int
    request_id: str
    action: Action
    identity: str
    target_id: Guid | None = None
    principal_id: Guid | None = None
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    preconditions: tuple[Condition, ...] = ()
    already: bool = Field(False, description="It was so already when the plan was made.")
    tier: Tier = Tier.ORDINARY
    inverse: Inverse | None = None
    irreversible: str | None = None


class Change(Value):
    """Effective access that somebody gains, loses, or keeps all the same."""

    principal_id: str
    entitlement_id: str
    state: Literal["active", "eligible"] = "active"
    through: tuple[str, ...] = Field(
        (), description="Of what remains: entitlement ids of the path."
    )
    tier: Tier | None = None
    why: str | None = Field(default=None, description="Of what remains: why it is not taken.")


class Delta(Value):
    """What a plan means for effective access.

    `gained` and `lost` list the most dangerous, the counts are of all. `remains`: what a revoke
    does not take, because another path leads there. `unknown`: what all this does not say, and why.
    """

    gained: tuple[Change, ...] = ()
    lost: tuple[Change, ...] = ()
    remains: tuple[Change, ...] = ()
    gained_count: int = 0
    lost_count: int = 0
    unknown: tuple[str, ...] = ()


class Plan(Value):
    """What will be written for some requests, in order, and on what it rests.

    `limits`: the largest numbers of changes that this plan asks leave for; who approves it, signs
    them. `facts_as_of`: the sync whose warehouse the delta was worked out on; it is shown, and not
    part of the hash, so that an unrelated sync does not make a plan another one.
    """

    format: Annotated[int, Field(ge=1)] = FORMAT
    tenant_id: Guid
    policy_hash: str
    requests: Mapping[str, str] = Field(description="Request id to the digest of its document.")
    operations: tuple[Operation, ...]
    delta: Delta = Delta()
    warnings: tuple[str, ...] = ()
    limits: Mapping[str, int] = Field(default_factory=dict)
    approvals_needed: Annotated[int, Field(ge=0)] = 1
    facts_as_of: str | None = None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the plan's canonical JSON."""
        document = self.document()
        document.pop("facts_as_of", None)
        return canonical.digest(canonical.text(document))

    @property
    def tier(self) -> Tier:
        """That of its most dangerous operation."""
        return min((operation.tier for operation in self.operations), default=Tier.ORDINARY)


@functools.lru_cache(maxsize=8)
def plan_of(document: str) -> Plan:
    """A plan from its JSON, and once for the same text: a plan of thousands takes a second.

    Raises pydantic.ValidationError. What was read is never changed; whether it is what was approved
    its hash says.
    """
    return Plan.model_validate_json(document)
