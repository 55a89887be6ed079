"""What a plan means for effective access: gained, lost, what remains, and what is not known of it.

Here: which facts operations are made of, and what the published warehouse foretells of them. Not
here: the foretelling (`access.prediction`), judging by it (`guards`), live facts (`reads`).

The warehouse is as old as its last sync; what the ledger has written since is taken into account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb

from entra_pipeline.access import needs
from entra_pipeline.access.answers import NotFound, Step
from entra_pipeline.access.prediction import EVERYTHING, Fact, Held, Prediction, counted, predict
from entra_pipeline.access.questions import Warehouse, WarehouseError
from entra_pipeline.provisioning.drafts.offboard import ACTIVATED
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Change, Delta, Operation, Plan
from entra_pipeline.provisioning.values import Grant, Mode, Offboard, Revoke, Tier

MOST: Final = 500
"""Changes of each sort that a plan lists; it counts all of them."""
MOST_EXPLAINED: Final = 200
_LAG: Final = timedelta(minutes=2)
"""Before a table was read: what was written then may not have shown yet."""
_BY_RULES: Final = frozenset(
    {
        Action.CREATE_USER,
        Action.INVITE_GUEST,
        Action.RESTORE_USER,
        Action.UPDATE_USER,
        Action.SET_MANAGER,
        Action.REMOVE_MANAGER,
    }
)


@dataclass(frozen=True)
class Effects:
    """What is foretold of a plan.

    `why_unsure`: why it is not sure to be all, empty when it is; `watched`, `total` and `losing`
    are those of the prediction.
    """

    delta: Delta
    facts_as_of: str | None
    why_unsure: tuple[str, ...]
    watched: Mapping[str, tuple[frozenset[str], frozenset[str]]]
    total: int | None
    losing: frozenset[str] = frozenset()


def fact_of(identity: str, *, adds: bool) -> Fact | None:
    """The fact that a grant or revoke of that identity makes true or false."""
    mode, _, rest = identity.partition(":")
    who, _, what = rest.partition(":")
    if mode not in set(Mode) or not what:
        return None
    return Fact(adds, what, who, "eligible" if mode == Mode.PIM_ELIGIBLE else "active")


_GIVING: Final = frozenset(
    {Action.ADD_GROUP_OWNER, Action.ADD_EXCHANGE_OWNER, Action.ADD_APP_OWNER}
)
"""What an offboarding gives, to heirs; the rest of it takes."""


def gives(kind: str, action: str) -> bool:
    """Whether an operation of that kind of request makes its fact true."""
    return action in _GIVING if kind == "offboard" else kind == "grant"


_MANAGERS: Final = frozenset({Action.ADD_EXCHANGE_OWNER, Action.REMOVE_EXCHANGE_OWNER})
"""Who manages a list is Exchange's own: Graph's owners, of whom tables tell, do not follow."""


def fact_written(kind: str, action: str, identity: str) -> Fact | None:
    """The fact that an operation of that kind of request has made or will make true or false.

    None for what no table of access tells of: managers of lists. A grant of that counts all the
    same, so that it is judged.
    """
    if action in _MANAGERS and kind != "grant":
        return None
    return fact_of(identity, adds=gives(kind, action))


def facts_of(plan: Plan, batch: Iterable[Filed]) -> list[Fact]:
    """What a plan makes true and false, without what is so already."""
    bodies = {filed.id: filed.request.body for filed in batch}
    found = []
    for operation in plan.operations:
        body = bodies[operation.request_id]
        if operation.already:
            continue
        if isinstance(body, Grant | Revoke):
            fact = fact_written(body.kind, operation.action, body.identity)
            found += [fact] if fact is not None else []
        elif isinstance(body, Offboard):
            found += _of_offboarding(operation)
        elif operation.action is Action.DELETE_USER:
            found.append(Fact(False, EVERYTHING, str(operation.target_id)))
    return found


def _of_offboarding(operation: Operation) -> list[Fact]:
    """The facts of one operation of many; of what is no access there are none."""
    fact = fact_written("offboard", operation.action, operation.identity)
    if fact is None:
        return []
    if operation.arguments.get(ACTIVATED):
        return [fact, replace(fact, state="active")]
    return [fact]


def since(as_of: Iterable[datetime | None]) -> datetime | None:
    """From when on our own writes may be missing in tables that were read at these times."""
    times = [each for each in as_of if each is not None]
    return min(times) - _LAG if times else None


def read_times(warehouse: Path) -> list[datetime | None]:
    """When the tables were read that decide about access; empty without a readable warehouse."""
    if not warehouse.exists():
        return []
    try:
        with Warehouse.open(warehouse) as opened:
            return [each.as_of for each in opened.status().tables if each.table in set(needs.EVERY)]
    except WarehouseError:
        return []


def total(warehouse: Path) -> int | None:
    """All effective access there is, as of the warehouse; None without a readable one."""
    try:
        return counted(warehouse) if warehouse.exists() else None
    except duckdb.Error:
        return None


def effects(
    plan: Plan,
    batch: Sequence[Filed],
    warehouse: Path,
    *,
    written: Sequence[Fact],
    watch: Iterable[str],
    oldest: datetime | None,
    keep: Iterable[str] = (),
) -> Effects:
    """What the plan means. `written`: facts that have come true since the last sync, in order;
    `oldest`: tables that were read before are too old to be sure of."""
    facts = facts_of(plan, batch)
    unknown = _untold(plan.operations)
    kept = plan.delta.remains
    if not warehouse.exists():
        said = "what comes through groups, as nothing was synced yet"
        return _direct(facts, [*unknown, said], kept)
    try:
        with Warehouse.open(warehouse) as opened:
            tables = _tables(facts)
            lacking = _lacking(opened, tables, oldest)
            if any(operation.action in _BY_RULES for operation in plan.operations):
                unknown += _rules(opened)
            found = predict(warehouse, facts, since=written, watch=watch, keep=keep, most=MOST)
            bodies = [filed.request.body for filed in batch]
            leavers = [body.user_id for body in bodies if isinstance(body, Offboard)]
            held = [pair for user in leavers for pair in _held_by(opened, user, found)]
            remains, missing = _remaining(opened, facts, found, held)
            remains = _with_reasons(remains, kept)
            sync = (opened.status().sync or {}).get("sync_id")
    except (WarehouseError, duckdb.Error):
        said = "what comes through groups, as the warehouse cannot be read"
        return _direct(facts, [*unknown, said], kept)
    why = [*lacking, *_unseen(found.unseen)]
    if found.otherwise:
        unknown.append("what changed since the last sync: it saw some of this otherwise")
    delta = _delta(facts, found, remains, [*unknown, *why, *missing])
    return Effects(delta, sync, tuple(why), found.watched, found.total, found.losing)


def _delta(
    facts: Sequence[Fact], found: Prediction, remains: Sequence[Change], unknown: Iterable[str]
) -> Delta:
    """The prediction, and directly what is about things that the warehouse does not know."""
    unseen = [fact for fact in found.unseen if fact.entitlement_id != EVERYTHING]
    more = {adds: [_direct_change(f) for f in unseen if f.adds is adds] for adds in (True, False)}
    return Delta(
        gained=(*map(_change, found.gained), *more[True])[:MOST],
        lost=(*map(_change, found.lost), *more[False])[:MOST],
        remains=tuple(remains),
        gained_count=found.gained_count + len(more[True]),
        lost_count=found.lost_count + len(more[False]),
        unknown=tuple(dict.fromkeys(unknown)),
    )


def _direct(facts: Sequence[Fact], unknown: Sequence[str], kept: Sequence[Change] = ()) -> Effects:
    """Without a warehouse: what is given and taken itself."""
    told = [fact for fact in facts if fact.entitlement_id != EVERYTHING]
    gained = [_direct_change(fact) for fact in told if fact.adds]
    lost = [_direct_change(fact) for fact in told if not fact.adds]
    delta = Delta(
        gained=tuple(gained[:MOST]),
        lost=tuple(lost[:MOST]),
        remains=tuple(kept),
        gained_count=len(gained),
        lost_count=len(lost),
        unknown=tuple(unknown),
    )
    return Effects(delta, None, (unknown[-1],), {}, None)


def _untold(operations: Iterable[Operation]) -> list[str]:
    found = []
    actions = {operation.action for operation in operations if not operation.already}
    if Action.RESTORE_USER in actions:
        found.append("what a restored account gets back")
    if actions & _MANAGERS:
        found.append(
            "who manages a list: tables of access have its owners in Graph, which do not follow; "
            "exchange_groups has its managers"
        )
    if Action.CREATE_GROUP in actions:
        found.append("ids of the new group: its owners and members get what is said above")
    return found


def _rules(warehouse: Warehouse) -> list[str]:
    rows = warehouse.query("SELECT count(*) FROM groups WHERE membership_rule IS NOT NULL").rows
    number = int(rows[0][0])
    return [f"what the rules of {number} dynamic groups make of the account"] if number else []


def _tables(facts: Iterable[Fact]) -> list[str]:
    """The tables that decide what the facts mean."""
    found: dict[str, None] = {}
    for fact in facts:
        if fact.entitlement_id == EVERYTHING:
            found |= dict.fromkeys(needs.of_principal("user"))
            continue
        found |= dict.fromkeys(needs.of_entitlement(fact.entitlement_id))
        if fact.entitlement_id.startswith("group:") and fact.entitlement_id.endswith(":member"):
            found |= dict.fromkeys((*needs.of_principal("group"), "license_assignments"))
    return list(found)


def _lacking(warehouse: Warehouse, tables: Sequence[str], oldest: datetime | None) -> list[str]:
    """What is not sure, table by table."""
    found = [
        f"what depends on {each.table} ({each.status})"
        for each in warehouse.completeness(tables).missing
    ]
    read = {each.table: each.as_of for each in warehouse.status().tables}
    for table in tables:
        as_of = read.get(table)
        if oldest is not None and as_of is not None and as_of < oldest:
            found.append(f"what depends on {table} (read longer ago than the policy wants: sync)")
    return found


def _unseen(facts: Iterable[Fact]) -> list[str]:
    """What is not known of principals and resources that came after the last sync."""
    said = "what the last sync did not see means: {} and {}"
    return [said.format(fact.principal_id, fact.entitlement_id) for fact in facts][:MOST]


def _held_by(warehouse: Warehouse, user: str, found: Prediction) -> list[tuple[str, str]]:
    """All that somebody holds and will not lose: whom and what."""
    principal = warehouse.find_principal(user)
    if isinstance(principal, NotFound):
        return []
    lost = {(held.principal_id, held.entitlement_id, held.state) for held in found.lost}
    rows = warehouse.access(principal).entitlements
    return [
        (user, row.entitlement_id)
        for row in rows
        if (user, row.entitlement_id, row.state) not in lost
    ]


def _with_reasons(remains: Sequence[Change], kept: Sequence[Change]) -> list[Change]:
    """What remains, with why where a plan says so of the first step of the way there; and what it
    says of access that no sync has seen yet."""
    why = {(each.principal_id, each.entitlement_id, each.state): each.why for each in kept}
    said = []
    for change in remains:
        start = change.through[0] if change.through else change.entitlement_id
        states = (change.state, "active", "eligible")
        reason = next(
            (why[key] for state in states if (key := (change.principal_id, start, state)) in why),
            None,
        )
        said.append(change if reason is None else change.model_copy(update={"why": reason}))
    known = {(each.principal_id, each.entitlement_id) for each in remains}
    return [*said, *(e for e in kept if (e.principal_id, e.entitlement_id) not in known)]


def _remaining(
    warehouse: Warehouse,
    facts: Sequence[Fact],
    found: Prediction,
    held: Sequence[tuple[str, str]] = (),
) -> tuple[list[Change], list[str]]:
    """What is not taken, and through what. `held`: what else is asked about."""
    gone = {(f.principal_id, f.entitlement_id, f.state): None for f in facts if not f.adds}
    asked = dict.fromkeys((who, what) for who, what, _ in gone if what != EVERYTHING)
    others = [(held.principal_id, held.entitlement_id) for held in found.kept]
    pairs = list(dict.fromkeys([*asked, *others, *held]))
    remains: list[Change] = []
    unknown: dict[str, None] = {}
    if len(pairs) > MOST_EXPLAINED:
        unknown[f"through what {len(pairs) - MOST_EXPLAINED} further entitlements remain"] = None
    for who, what in pairs[:MOST_EXPLAINED]:
        principal, entitlement = warehouse.find_principal(who), warehouse.find_entitlement(what)
        if isinstance(principal, NotFound) or isinstance(entitlement, NotFound):
            unknown["what remains of access that the last sync did not see"] = None
            continue
        paths = [
            _kept(path, who, what)
            for path in warehouse.paths(principal, entitlement, MOST)
            if not any((step.source.id, step.via, step.state) in gone for step in path)
        ]
        # Of what only comes with the access that goes, one way that is left is enough.
        remains += paths if (who, what) in asked else paths[:1]
    return remains, list(unknown)


def _kept(path: Sequence[Step], who: str, what: str) -> Change:
    return Change(
        principal_id=who,
        entitlement_id=what,
        state="eligible" if any(step.state == "eligible" for step in path) else "active",
        through=tuple(step.via for step in path),
    )


def _change(held: Held) -> Change:
    return Change(
        principal_id=held.principal_id,
        entitlement_id=held.entitlement_id,
        state="eligible" if held.state == "eligible" else "active",
        through=(),
        tier=Tier(held.tier) if held.tier in set(Tier) else None,
    )


def _direct_change(fact: Fact) -> Change:
    return _change(Held(fact.principal_id, fact.entitlement_id, fact.state, None))
