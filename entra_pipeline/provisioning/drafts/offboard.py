"""Drafts of offboarding: all that one person holds directly, as operations of the existing kinds.

Here: finding what a leaver holds, from live facts alone, and the order in which it is taken. What
one piece of it takes to be taken is its own family's to say: those drafts are made here one by one.
What their rules have against a single piece (a dynamic group, one that is mastered on premises, the
last owner whom nobody follows) keeps that piece, with the reason, and never the others; what would
endanger the tenant (the last Global Administrators) stands against all of it.

Order: the account can sign in no more, its sessions end, its methods go; then heirs become owners,
before the leaver ceases to be one; then roles, app roles, ownerships, memberships, licences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from entra_pipeline.msgraph.errors import UnlicensedError, UnsupportedError
from entra_pipeline.provisioning.actions import app_roles, groups, licenses, owners, pim, roles
from entra_pipeline.provisioning.actions.accounts import account_url
from entra_pipeline.provisioning.actions.credentials import methods_url
from entra_pipeline.provisioning.actions.profiles import manager_url, properties_url
from entra_pipeline.provisioning.drafts import people
from entra_pipeline.provisioning.drafts.accounts import EndSessions, RemoveAllMethods
from entra_pipeline.provisioning.drafts.app_roles import AppRoles
from entra_pipeline.provisioning.drafts.base import Draft, Family, Task
from entra_pipeline.provisioning.drafts.exchange import is_list
from entra_pipeline.provisioning.drafts.groups import Groups
from entra_pipeline.provisioning.drafts.licenses import Licenses
from entra_pipeline.provisioning.drafts.pim import Holds
from entra_pipeline.provisioning.drafts.profiles import Updates
from entra_pipeline.provisioning.drafts.roles import Roles
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Change, Condition, Inverse, Operation
from entra_pipeline.provisioning.reads import (
    Facts,
    Read,
    UnreadError,
    kind_of_object,
    principal_url,
)
from entra_pipeline.provisioning.values import (
    AppAccess,
    DisableUser,
    Grant,
    GroupAccess,
    LicenseAccess,
    Mode,
    Offboard,
    Revoke,
    RevokeMfa,
    RevokeSessions,
    RoleAccess,
    Tier,
)

ACTIVATED: Final = "activated"
"""In the arguments of taking an eligibility: an activation that rests on it ends as well."""
_SEGMENT: Final = "users"
_ACCOUNT: Final[tuple[tuple[type[Any], Task], ...]] = (
    (DisableUser, Updates()),
    (RevokeSessions, EndSessions()),
    (RevokeMfa, RemoveAllMethods()),
)
_SHELVES: Final = tuple(
    (of, mode) for of in ("role", "group") for mode in (Mode.PIM_ACTIVE, Mode.PIM_ELIGIBLE)
)


@dataclass
class _Found:
    """What came of the pieces so far."""

    operations: list[Operation] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def keep(self, user: str, entitlement: str, state: str, why: str) -> None:
        change = Change(principal_id=user, entitlement_id=entitlement, through=(), why=why)
        if state == "eligible":
            change = change.model_copy(update={"state": state})
        self.kept.append(change)


class Offboardings:
    """Leavers."""

    def first(self, body: Offboard) -> Sequence[Read]:
        """The account, and lists of all that it holds and owns."""
        user = body.user_id
        shelves = [pim.SHELVES[of, mode.value] for of, mode in _SHELVES]
        return [
            *people.first(user),
            Read(principal_url(user)),
            Read(properties_url(user, ["accountEnabled"])),
            Read(methods_url(user)),
            Read(manager_url(user)),
            Read(roles.held_url(user)),
            Read(groups.held_url(_SEGMENT, user, "member")),
            Read(groups.held_url(_SEGMENT, user, "owner")),
            Read(app_roles.held_url(_SEGMENT, user)),
            Read(licenses.holder_url(_SEGMENT, user)),
            *(Read(shelf.instances_url(user)) for shelf in shelves),
            *(Read(shelf.requests_url(user)) for shelf in shelves),
        ]

    def needs(self, body: Offboard, facts: Facts) -> Sequence[Read]:
        """What each piece needs to be taken, and who would follow as an owner."""
        user = body.user_id
        if facts.document(account_url(user)) is None:
            return ()
        reads = [*people.then(user, facts)]
        for revoke in _held(user, facts):
            reads += _family(revoke).needs(revoke, _SEGMENT)
        for collection, owned in _owned_apps(user, facts):
            reads.append(Read(owners.owners_url(collection, owned)))
        if (heir := _heir(body, facts)) is not None:
            reads += [Read(account_url(heir)), Read(principal_url(heir))]
            reads += [
                Read(groups.held_url(_SEGMENT, heir, "owner")),
                Read(properties_url(heir, ["accountEnabled"])),
            ]
        return reads

    def draft(
        self, filed: Filed, body: Offboard, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused for nobody, and for the last Global Administrators."""
        user = body.user_id
        if facts.document(account_url(user)) is None:
            return Draft(reasons=(f"there is no user {user}",))
        # These lists first: where one of them could not be read, nothing else was.
        held, apps = [*_held(user, facts)], [*_owned_apps(user, facts)]
        _heir(body, facts)
        last, _ = people.last_administrators(user, facts)
        if last:
            return Draft(reasons=tuple(last))
        found = _Found()
        self._account(filed, body, facts, found)
        facts = self._heirs(filed, body, facts, found)
        for revoke in held:
            _take(filed, revoke, facts, found)
        for owned in apps:
            _take_app(filed, user, owned, found)
        _others(user, facts, found)
        return Draft(
            tuple(found.operations),
            tuple(found.reasons),
            tuple(dict.fromkeys(found.warnings)),
            tuple(found.kept),
        )

    def _account(self, filed: Filed, body: Offboard, facts: Facts, found: _Found) -> None:
        """The account, its sessions, its methods."""
        for kind, task in _ACCOUNT:
            own = kind(user_id=body.user_id)
            drafted = task.draft(_as(filed, own), own, facts, ())
            found.operations += drafted.operations
            if kind is not DisableUser:
                found.warnings += drafted.warnings
                continue
            # For an account that there is, only where it is mastered stands against this.
            account = facts.document(account_url(body.user_id)) or {}
            if account.get("accountEnabled") is not False:
                said = "the account can still sign in"
                found.warnings += [f"{said}: {reason}" for reason in drafted.reasons]

    def _heirs(self, filed: Filed, body: Offboard, facts: Facts, found: _Found) -> Facts:
        """Have somebody else own what only the leaver does; the facts as they are then."""
        user, heir = body.user_id, _heir(body, facts)
        lacking = _unfit_heir(body, heir, facts)
        after: dict[str, Any] = {}
        for collection, owned in _owned(user, facts):
            url = _owners_url(collection, owned)
            rows = facts.items(url)
            if rows is None or {each["id"] for each in rows} - {user}:
                continue
            entitlement = _entitlement(collection, owned)
            if lacking is not None or heir is None:
                why = f"its last owner, and nobody to hand it to: {lacking}"
                found.keep(user, entitlement, "active", why)
                found.warnings.append(f"{entitlement} stays with {user}: {why}")
                continue
            if collection == "groups":
                grant = Grant(
                    principal_id=heir, access=GroupAccess(group_id=owned, relation="owner")
                )
                drafted = Groups().draft(_as(filed, grant), grant, _SEGMENT, facts)
            else:
                drafted = _of_app(filed, heir, (collection, owned), adds=True)
            if drafted.reasons:
                why = f"its last owner, and it cannot be handed over: {drafted.reasons[0]}"
                found.keep(user, entitlement, "active", why)
                found.warnings.append(f"{entitlement} stays with {user}: {why}")
                continue
            found.operations += drafted.operations
            after[url] = {"value": [*rows, {"id": heir}]}
        return facts | Facts(after)


def _take(filed: Filed, revoke: Revoke, facts: Facts, found: _Found) -> None:
    """Take one piece of access, or say why it stays."""
    entitlement = revoke.access.entitlement_id
    state = "eligible" if revoke.mode is Mode.PIM_ELIGIBLE else "active"
    known = {(each.entitlement_id, each.state) for each in found.kept}
    if (entitlement, state) in known:
        return  # its last owner: said already
    if is_list(revoke.access, facts):
        why = "Exchange keeps this list: revoke it by a request of its own"
        found.keep(revoke.principal_id, entitlement, state, why)
        return
    try:
        drafted = _family(revoke).draft(_as(filed, revoke), revoke, _SEGMENT, facts)
    except UnreadError as error:
        found.reasons.append(f"what {entitlement} rests on cannot be read: {error}")
        return
    if drafted.reasons:
        found.keep(revoke.principal_id, entitlement, state, "; ".join(drafted.reasons))
        return
    for operation in drafted.operations:
        if _activation(revoke, facts):
            arguments = {**operation.arguments, ACTIVATED: True}
            operation = operation.model_copy(update={"arguments": arguments})
        found.operations.append(operation)


def _take_app(filed: Filed, user: str, owned: tuple[str, str], found: _Found) -> None:
    entitlement = _entitlement(*owned)
    if any(each.entitlement_id == entitlement for each in found.kept):
        return
    found.operations += _of_app(filed, user, owned, adds=False).operations


def _of_app(filed: Filed, who: str, owned: tuple[str, str], *, adds: bool) -> Draft:
    """The draft of somebody becoming or ceasing to be an application's owner."""
    collection, object_id = owned
    pair = (Action.ADD_APP_OWNER, Action.REMOVE_APP_OWNER)
    action, opposite = pair if adds else reversed(pair)
    arguments = {"collection": collection}
    condition = Condition(fact="owners.others", subject=object_id)
    operation = Operation(
        position=0,
        request_id=filed.id,
        action=action,
        identity=f"{Mode.DIRECT}:{who}:{_entitlement(collection, object_id)}",
        target_id=object_id,
        principal_id=who,
        arguments=arguments,
        preconditions=() if adds else (condition,),
        already=False,
        # Whoever owns an application may act as it.
        tier=Tier.SENSITIVE,
        inverse=Inverse(action=opposite, arguments=arguments),
    )
    return Draft((operation,))


# ---- what a leaver holds -------------------------------------------------------------------------


def _held(user: str, facts: Facts) -> Iterator[Revoke]:
    """Every piece of direct access that there is a family for, in the order of its taking."""
    by_pim = [*_by_pim(user, facts)]
    timed = {(r.access.entitlement_id) for r in by_pim if r.mode is Mode.PIM_ACTIVE}
    activated = _activated(user, facts)
    yield from (each for each in by_pim if each.access.type == "role")
    for row in facts.items(roles.held_url(user)) or ():
        role = RoleAccess(
            role_definition_id=row["roleDefinitionId"], scope=row.get("directoryScopeId") or "/"
        )
        if row["id"] not in activated and role.entitlement_id not in timed:
            yield _revoke(user, role)
    for row in facts.items(app_roles.held_url(_SEGMENT, user)) or ():
        if row["principalId"] == user:
            access = AppAccess(service_principal_id=row["resourceId"], app_role_id=row["appRoleId"])
            yield _revoke(user, access)
    yield from (each for each in by_pim if each.access.type == "group")
    for relation in ("owner", "member"):
        for row in facts.items(groups.held_url(_SEGMENT, user, relation)) or ():
            link = GroupAccess.model_validate({"group_id": row["id"], "relation": relation})
            if kind_of_object(row) == "group" and link.entitlement_id not in timed:
                yield _revoke(user, link)
    holder = facts.document(licenses.holder_url(_SEGMENT, user)) or {}
    for row in holder.get("licenseAssignmentStates") or ():
        if row.get("assignedByGroup") is None:
            yield _revoke(user, LicenseAccess(sku_id=row["skuId"], disabled_plans=()))


def _by_pim(user: str, facts: Facts) -> Iterator[Revoke]:
    """Eligibilities, and what PIM has given for a time. What it knows to be for good is taken
    where it was given: PIM lists that too."""
    for of, mode in _SHELVES:
        shelf = pim.SHELVES[of, mode.value]
        rows = _listed(facts, shelf.instances_url(user))
        seen = set()
        for row in rows:
            place = row.get(shelf.place) or ("member" if of == "group" else "/")
            if not shelf.held([row], row[shelf.thing], str(place)):
                continue
            if shelf.active and row.get("endDateTime") is None:
                continue
            access: RoleAccess | GroupAccess = (
                RoleAccess(role_definition_id=row[shelf.thing], scope=str(place))
                if of == "role"
                else GroupAccess.model_validate(
                    {"group_id": row[shelf.thing], "relation": str(place)}
                )
            )
            if access.entitlement_id not in seen:
                seen.add(access.entitlement_id)
                yield _revoke(user, access, mode)


def _listed(facts: Facts, url: str) -> Sequence[Mapping[str, Any]]:
    """A list of PIM's; none where there is no PIM. UnreadError when that is unknown."""
    try:
        return facts.items(url) or []
    except UnreadError as error:
        if not isinstance(error.error, UnlicensedError | UnsupportedError):
            raise
        return []


def _activated(user: str, facts: Facts) -> set[str]:
    """Assignments that are activations: they end with what they rest on."""
    shelf = pim.SHELVES["role", Mode.PIM_ACTIVE.value]
    return {
        str(row.get("roleAssignmentOriginId"))
        for row in _listed(facts, shelf.instances_url(user))
        if str(row.get("assignmentType")).lower() == "activated"
    }


def _activation(revoke: Revoke, facts: Facts) -> bool:
    """Whether an eligibility that is taken is activated now."""
    if revoke.mode is not Mode.PIM_ELIGIBLE:
        return False
    of = revoke.access.type
    shelf = pim.SHELVES[of, Mode.PIM_ACTIVE.value]
    place = (
        revoke.access.scope
        if isinstance(revoke.access, RoleAccess)
        else getattr(revoke.access, "relation", "member")
    )
    rows = _listed(facts, shelf.instances_url(revoke.principal_id))
    return any(
        str(row.get("assignmentType")).lower() == "activated"
        for row in shelf.matching(rows, revoke.access.resource_id, place)
    )


def _owned(user: str, facts: Facts) -> Iterator[tuple[str, str]]:
    """What the leaver owns and an owner can be named of: where Graph has it, and its id."""
    for row in facts.items(groups.held_url(_SEGMENT, user, "owner")) or ():
        kind = kind_of_object(row)
        collection = "groups" if kind == "group" else owners.COLLECTIONS.get(kind)
        if collection is not None:
            yield collection, str(row["id"])


def _owned_apps(user: str, facts: Facts) -> Iterator[tuple[str, str]]:
    return (each for each in _owned(user, facts) if each[0] != "groups")


def _others(user: str, facts: Facts, found: _Found) -> None:
    """What is held and has no kind of write here."""
    for row in facts.items(groups.held_url(_SEGMENT, user, "member")) or ():
        if kind_of_object(row) == "administrativeunit":
            why = "administrative units are not changed here"
            found.keep(user, f"unit:{row['id']}:member", "active", why)


def _owners_url(collection: str, owned: str) -> str:
    return (
        groups.owners_url(owned) if collection == "groups" else owners.owners_url(collection, owned)
    )


def _entitlement(collection: str, owned: str) -> str:
    prefix = "group" if collection == "groups" else owners.PREFIXES[collection]
    return f"{prefix}:{owned}:owner"


def _heir(body: Offboard, facts: Facts) -> str | None:
    """Who gets what only the leaver owns: whom the request names, else the manager."""
    if body.hand_over_to is not None:
        return body.hand_over_to
    found = facts.document(manager_url(body.user_id))
    return None if found is None else str(found["id"])


def _unfit_heir(body: Offboard, heir: str | None, facts: Facts) -> str | None:
    """Why nobody can follow as an owner; None when somebody can."""
    named = "name somebody (--hand-over-to), or a manager (set_manager)"
    if heir is None:
        return f"there is no manager; {named}"
    whose = "the manager" if body.hand_over_to is None else "whoever is to have it"
    account = facts.document(account_url(heir))
    if heir == body.user_id or account is None:
        return f"{whose}, {heir}, is no other user; {named}"
    if not account.get("accountEnabled"):
        return f"{whose}, {heir}, is disabled; {named}"
    return None


def _revoke(user: str, access: Any, mode: Mode = Mode.DIRECT) -> Revoke:
    return Revoke(principal_id=user, access=access, mode=mode, undoes=None)


def _family(revoke: Revoke) -> Family:
    if revoke.mode is not Mode.DIRECT:
        return Holds(revoke.access.type)
    return _FAMILIES[revoke.access.type]


_FAMILIES: Final[Mapping[str, Family]] = {
    "group": Groups(),
    "app": AppRoles(),
    "role": Roles(),
    "license": Licenses(),
}


def _as(filed: Filed, body: Any) -> Filed:
    """The request as if it were about one piece alone, for that piece's own draft."""
    return replace(filed, request=filed.request.model_copy(update={"body": body}))
