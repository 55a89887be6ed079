"""Rounds of a tenant's life, and what is checked of each: kept up to date, and kept for ever.

A round: the tenant changes; syncs run as processes of their own, some of them under faults, some
killed, some while it goes on changing; the last one gets through. Then every table must be, row
for row, what a full read into an empty directory gives, and effective access what a walk over the
tenant's own JSON finds. Both are kept aside, and when all rounds are over the data directory must
still answer for each of them.

What is done in a round is printed when it begins: seed, changes and mishaps.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from entra_pipeline.access import past
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.cli.export import Format, opened, write
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import Status
from tests.extract.support import Rig
from tests.history.mishaps import Mishaps
from tests.history.syncing import Command, Syncing, Told
from tests.history.watching import DIRECTORY, Keys, Watcher, keys, missed
from tests.oracle.naive import EVERYONE, LINKS, OBJECTS, Naive

ALL_USERS = "all_users"
DERIVED = ("principals", "resources", "entitlements", "grants", "group_closure", "effective_grants")
# Tries until a sync without faults must have got through.
TRIES = 3

Effective = dict[tuple[str, str, str], bool]


@dataclass(frozen=True)
class Kept:
    """What was true when a round ended, and what the warehouse of the time exported."""

    number: int
    after: datetime
    rows: dict[str, pa.Table]
    effective: Effective
    exports: dict[str, str]


@dataclass
class Tally:
    """What happened over all rounds."""

    reasons: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    syncs: int = 0
    commands: int = 0
    kills: int = 0
    looks: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Story:
    """One tenant, one data directory, and its rounds.

    `settle_s`: how long after a change its audits may come: no sync can be up to date before.
    """

    def __init__(
        self, simulator: Simulator, path: Path, seed: int, *, settle_s: float = 0.0
    ) -> None:
        self.simulator = simulator
        self.seed = seed
        self.data = path / "data"
        self.tally = Tally()
        self.rounds: list[Kept] = []
        self._scratch = path
        self._environment = {
            **simulator.settings_env(),
            "ENTRA_GRAPH_URL": simulator.info.http_graph_url,
            "ENTRA_DATA_DIR": str(self.data),
        }
        self._usual_s = 1.5
        self._settle_s = settle_s
        self._watcher = Watcher(self.data)

    # ---- a round ---------------------------------------------------------------------------

    def round(self, number: int, planned: Mishaps) -> None:
        """Everything of one round, checks included. The first one, 0, is the first sync."""
        print(f"round {number} of seed {self.seed}: {planned}")
        touched = set()
        if number:
            touched |= self._change(self.seed * 10_000 + number * 10, planned.changes)
        if planned.ending is not None:
            self.simulator.end_deltas(*planned.ending)
            self.tally.endings[planned.ending[0]] += 1
        touched |= self._disturbed(number, planned)
        time.sleep(self._settle_s)
        last = None if planned.meanwhile or self._settle_s else self._last
        if last is None or not last.whole():
            last = self._undisturbed()
        assert last.whole()
        self._judge(number, touched if planned.meanwhile else set())

    def _change(self, seed: int, count: int) -> set[str]:
        """Random changes; the ids of what they touched."""
        made = self.simulator.mutate(seed, count)
        self.tally.reasons.update(change["reason"] for change in made)
        return {one for change in made for one in change["ids"]}

    def _disturbed(self, number: int, planned: Mishaps) -> set[str]:
        """Syncs under faults, those to be killed first; ids of what changed meanwhile."""
        touched: set[str] = set()
        self._last: Told | None = None
        self.simulator.faults([rule for _, rule in planned.faults])
        self.simulator.reset_stats()
        try:
            for attempt, part in enumerate([*planned.kills, None]):
                begun = time.monotonic()
                syncing = self._start(command=planned.command and not attempt)
                if planned.meanwhile and not attempt:
                    time.sleep(0.3 * self._usual_s)
                    seed = self.seed * 10_000 + number * 10 + 1
                    touched |= self._change(seed, planned.meanwhile)
                if part is None:
                    self._last = syncing.told()
                    if not planned.faults and not planned.command:
                        self._usual_s = (self._usual_s + time.monotonic() - begun) / 2
                else:
                    self._last = syncing.killed(
                        part * self._usual_s * (5 if planned.command else 1)
                    )
                    self.tally.kills += self._last is None
        finally:
            for (kind, _), counted in zip(
                planned.faults, self.simulator.stats()["faults"], strict=True
            ):
                self.tally.faults[kind] += counted["fired"]
            self.simulator.faults([])
        return touched

    def _undisturbed(self) -> Told:
        """Syncs without faults until all tables are whole: one, or one more where rows are few."""
        accepted: list[str] = []
        for _ in range(TRIES):
            told = Syncing(self._environment, accepted).told()
            self.tally.syncs += 1
            if told.whole():
                return told
            doubted = [n for n, (s, _) in told.others().items() if s == Status.QUARANTINED]
            # Nothing but rows that really went may stand between a tenant and its tables.
            assert len(doubted) == len(told.others()), told.others()
            self.tally.refused.update(doubted)
            accepted += doubted
        raise AssertionError(f"not whole after {TRIES} syncs without faults: {told.others()}")

    def _start(self, *, command: bool) -> Syncing | Command:
        self.tally.syncs += 1
        if command:
            self.tally.commands += 1
            return Command(self._environment, self.data)
        return Syncing(self._environment)

    # ---- what must be so -------------------------------------------------------------------

    def _judge(self, number: int, touched: set[str]) -> None:
        """Everything that must hold right after a round; keeps it for the end."""
        after = datetime.now(UTC)
        fresh = Rig(self.simulator, self._scratch / f"full-{number}")
        statuses = fresh.sync(*DIRECTORY)
        assert {s.status for s in statuses.values()} == {Status.COMPLETE}
        rows = {name: fresh.lake.read(name) for name in DIRECTORY}
        digests = {name: fresh.digest(name) for name in DIRECTORY}
        fresh.close()
        lake = Lake(self.data / "lake")
        problems = []
        for name in DIRECTORY:
            info = lake.info(name)
            if info is None or info.digest != digests[name]:
                problems.append(f"{name}: {_differences(lake.read(name), rows[name])}")
        assert not problems, "kept up to date and read in full differ:\n" + "\n".join(problems)
        truth = effective(self.simulator)
        warehouse = self.data / "warehouse.duckdb"
        assert_same(asked(warehouse), truth, "effective access and the plain walk")
        self._nothing_missed(number, rows, touched)
        self.rounds.append(Kept(number, after, rows, truth, exports(warehouse)))

    def _nothing_missed(self, number: int, rows: Mapping[str, pa.Table], touched: set[str]) -> None:
        seen = self._watcher.taken()
        if not self.rounds:
            return
        before: dict[str, Keys] = {n: keys(n, r) for n, r in self.rounds[-1].rows.items()}
        now: dict[str, Keys] = {name: keys(name, table) for name, table in rows.items()}
        assert missed(seen, before, now, frozenset(touched)) == []

    # ---- all rounds ------------------------------------------------------------------------

    def run(self, planned: Iterable[Mishaps]) -> None:
        """The first sync and the rounds, with a reader beside them."""
        with self._watcher:
            for number, mishaps in enumerate(planned):
                self.round(number, mishaps)
        self.tally.looks = self._watcher.looks

    def remember(self, number: int, *, built: int = 1) -> None:
        """What was kept of a round is what the data directory says of that time.

        `built`: how many times the warehouse of that time is made, which must export the same
        bytes every time.
        """
        kept = self.rounds[number]
        print(f"remembering round {number} of seed {self.seed}, ended by {kept.after}")
        directory = DataDirectory.existing(self.data)
        moment = past.at(Books(directory), kept.after)
        lake = Lake(directory.lake)
        problems = []
        for name, expected in kept.rows.items():
            found = lake.as_of(name, moment.finished)
            if found is None:
                problems.append(f"{name}: no rows of that time")
            elif not found.equals(expected):
                problems.append(f"{name}: {_differences(found, expected)}")
        assert not problems, "as of that time and kept aside differ:\n" + "\n".join(problems)
        for _ in range(built):
            path = past.warehouse(directory, moment)
            assert_same(asked(path), kept.effective, "effective access of then and the walk then")
            unequal = _unequal(exports(path), kept.exports)
            assert unequal == [], f"other bytes than then: {unequal}"
            path.unlink()


def effective(simulator: Simulator) -> Effective:
    """(principal, entitlement, state) to whether it is held directly, by the plain walk."""
    objects = {name: simulator.truth(name) for name in OBJECTS}
    links = {name: simulator.truth(name) for name in LINKS}
    groups = {group["id"] for group in objects["groups"]}
    # PIM keeps what it knows of groups in the recycle bin, and lists it group by group.
    pim = "group_eligibility_schedule_instances"
    objects[pim] = [row for row in objects[pim] if row["groupId"] in groups]
    # Who is assigned to an application in the recycle bin cannot be listed.
    applications = {principal["id"] for principal in objects["service_principals"]}
    objects["app_role_assignments"] = [
        row for row in objects["app_role_assignments"] if row["resourceId"] in applications
    ]
    now = datetime.now(UTC)
    # What PIM alone still knows is held too: an assignment whose holder is in the recycle bin.
    for row in simulator.truth("group_assignment_schedule_instances"):
        end = row.get("endDateTime")
        if row["groupId"] in groups and (end is None or datetime.fromisoformat(end) > now):
            relation = "group_owners" if row["accessId"] == "owner" else "group_members"
            links[relation].setdefault(row["groupId"], []).append(row["principalId"])
    naive = Naive(objects, links, now)
    held_by: dict[str, set[str]] = {}
    for entitlement, holds in naive.holds.items():
        for hold in holds:
            held_by.setdefault(hold.holder, set()).add(entitlement)
    for person, sku in naive.licensed:
        held_by.setdefault(person, set()).add(sku)
    found: Effective = {}
    for principal in naive.principals() | {person for person, _ in naive.licensed}:
        above, waiting = {principal}, [principal]
        while waiting:
            for group, _ in naive.up.get(waiting.pop(), ()):
                if group not in above:
                    above.add(group)
                    waiting.append(group)
        who = ALL_USERS if principal == EVERYONE else principal
        for entitlement in set().union(*(held_by.get(one, set()) for one in above)):
            for state, trail in naive.paths(principal, entitlement):
                key = (who, entitlement, state)
                found[key] = found.get(key, False) or len(trail) == 2
    return found


def asked(warehouse: Path) -> Effective:
    """The same from a warehouse."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT principal_id, entitlement_id, state, direct FROM effective_grants"
        ).fetchall()
    found = {(who, what, state): direct for who, what, state, direct in rows}
    assert len(found) == len(rows), "one row for a principal, an entitlement and a state"
    return found


def assert_same(found: Effective, expected: Effective, what: str) -> None:
    """The same access; names some that differ."""
    if found == expected:
        return
    more = sorted(found.items() - expected.items())
    less = sorted(expected.items() - found.items())
    raise AssertionError(
        f"{what} differ: {len(more)} only in the first, {more[:5]}; {len(less)} only in the "
        f"second, {less[:5]}"
    )


def exports(warehouse: Path) -> dict[str, str]:
    """Hashes of what `export` writes of each table and view that tells of access, as CSV."""
    found = {}
    aside = warehouse.parent / "exported.csv"
    with Warehouse.open(warehouse) as asked_warehouse:
        for name in (*DIRECTORY, *DERIVED):
            write(*opened(asked_warehouse, name, ordered=True), Format.CSV, aside)
            found[name] = hashlib.sha256(aside.read_bytes()).hexdigest()
    aside.unlink()
    return found


def _unequal(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [name for name in one if one[name] != other.get(name)]


def _differences(found: pa.Table, expected: pa.Table) -> str:
    ours = {repr(row) for row in found.to_pylist()}
    theirs = {repr(row) for row in expected.to_pylist()}
    return (
        f"{found.num_rows} rows, {expected.num_rows} expected; unexpected "
        f"{sorted(ours - theirs)[:3]}, missing {sorted(theirs - ours)[:3]}"
    )
