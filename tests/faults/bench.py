"""What the fault tests share: one simulated tenant, what was read of it before, and what is true.

A sync with a fault starts from a copy of a data directory that holds the tenant as it was some
changes ago. So each table of it ends up in one of two states that can be told apart: the rows of
an undisturbed sync, or, untouched, the rows published before.
"""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from entra_pipeline.access import build
from entra_pipeline.access.answers import Entitlement, NotFound, Principal
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.extract.extraction import Progress, extractable, run
from entra_pipeline.lake import Books, CommitInfo, DataDirectory, Lake, TableStatus
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.generate import generate
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.simulator.tenant import dump
from entra_pipeline.tables import Status
from tests.msgraph.scripted import FakeClock

Rule = dict[str, Any]
Rows = list[dict[str, Any]]

TABLES = extractable()
CORE = (
    "users",
    "license_assignments",
    "groups",
    "group_members",
    "group_owners",
    "role_definitions",
    "role_assignments",
    "contacts",
)
"""Neighbours of whatever is spoiled. All tables at once take three times as long."""
EXTRAS = 1000
"""Users beyond the generated ones: two pages of users, and a group with two pages of members."""
CROWD = "c0000000-0000-4000-8000-000000000000"


def write_tenant(directory: Path) -> None:
    """A small tenant with everything in it, and with lists of two pages."""
    dump(generate(users=60, groups=40, seed=7), directory)
    users = json.loads((directory / "users.json").read_text())
    groups = json.loads((directory / "groups.json").read_text())
    members = json.loads((directory / "group_members.json").read_text())
    # Between the others: objects that a test spoils by their place on a page are generated ones.
    users += [
        {
            "id": f"e0000000-0000-4000-8000-{number:012d}",
            "displayName": f"Extra {number}",
            "userPrincipalName": f"extra{number}@contoso.example",
            "accountEnabled": True,
            "userType": "Member",
            "createdDateTime": "2024-01-01T00:00:00Z",
        }
        for number in range(EXTRAS)
    ]
    groups.append(
        {
            "id": CROWD,
            "displayName": "Crowd",
            "securityEnabled": True,
            "mailEnabled": False,
            "groupTypes": [],
        }
    )
    everybody = [user["id"] for user in users]
    if isinstance(members, dict):
        members[CROWD] = everybody
    else:
        members += [{"groupId": CROWD, "id": user} for user in everybody]
    for stem, value in (("users", users), ("groups", groups), ("group_members", members)):
        (directory / f"{stem}.json").write_text(json.dumps(value))


def settings_for(simulator: Simulator, data_dir: Path, **more: Any) -> Settings:
    """Settings by the environment, as a user gives them; plain http to Graph saves time."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in simulator.settings_env().items():
            environment.setenv(name, value)
        environment.setenv("ENTRA_GRAPH_URL", simulator.info.http_graph_url)
        return Settings.load(data_dir=data_dir, **more)


@dataclass
class Outcome:
    """A sync that has ended.

    `waited`: seconds that it would have waited by a real clock; `before`: what was published of
    each table when it began.
    """

    statuses: dict[str, TableStatus]
    directory: DataDirectory
    lake: Lake
    waited: float
    before: dict[str, CommitInfo | None]

    def rows(self, table: str) -> pa.Table:
        """What is published, in the order of the key."""
        return self.lake.read(table)

    def objects(self, table: str, key: str = "id") -> dict[str, dict[str, Any]]:
        """The published rows by a column."""
        return {row[key]: row for row in self.rows(table).to_pylist()}

    def answers(self) -> Answers:
        """Build the warehouse of what is published, and open it."""
        stage = self.directory.warehouses / "stage.duckdb"
        files = {name: self.lake.files(name) for name in TABLES}
        build.build(stage, files, Books(self.directory).statuses(), described=False)
        return Answers(stage)


class Answers:
    """A warehouse to be asked."""

    def __init__(self, path: Path) -> None:
        self.warehouse = Warehouse.open(path)

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self.warehouse.close()

    def principal(self, text: str) -> Principal:
        """The one principal of that name."""
        found = self.warehouse.find_principal(text)
        assert not isinstance(found, NotFound), found.message
        return found

    def entitlement(self, text: str) -> Entitlement:
        """The one entitlement of that name."""
        found = self.warehouse.find_entitlement(text)
        assert not isinstance(found, NotFound), found.message
        return found

    def who(self, text: str) -> set[tuple[str, str]]:
        """(principal, state) of everybody who holds it."""
        answer = self.warehouse.who_can(self.entitlement(text))
        return {(row.principal_id, row.state) for row in answer.principals}

    def missing_for(self, text: str) -> dict[str, str]:
        """Why the answer to who-can is not certain: table to status."""
        answer = self.warehouse.who_can(self.entitlement(text))
        return {each.table: each.status for each in answer.completeness.missing}

    def missing_of(self, text: str) -> dict[str, str]:
        """Why the answer to access is not certain: table to status."""
        answer = self.warehouse.access(self.principal(text))
        return {each.table: each.status for each in answer.completeness.missing}


class Bench:
    """The tenant, its earlier state on disk, and the rows of an undisturbed sync."""

    def __init__(self, simulator: Simulator, work: Path) -> None:
        self.simulator = simulator
        self._work = work
        self._count = 0
        self.everything = False
        """Whether each sync reads all tables, not only the core and those that a test is about."""
        self._before = work / "before"
        self.earlier = self._first_sync(self._before)
        simulator.mutate(seed=1, changes=60)
        self.truth = self._first_sync(work / "truth")
        changed = {name for name in TABLES if not self.truth[name].equals(self.earlier[name])}
        # Otherwise "the rows of before" and "the rows of now" could not be told apart.
        assert {"users", "groups", "group_members", "role_assignments"} <= changed, changed

    def _first_sync(self, path: Path) -> dict[str, pa.Table]:
        outcome = self._run(path)
        bad = {n: s.reason for n, s in outcome.statuses.items() if s.status is not Status.COMPLETE}
        assert not bad, bad
        self.digests = {n: i.digest for n in TABLES if (i := outcome.lake.info(n)) is not None}
        return {name: outcome.rows(name) for name in TABLES}

    def sync(
        self,
        *rules: Rule,
        about: Collection[str] = (),
        earlier: bool = True,
        accept_shrink: Collection[str] = (),
        simulator: Simulator | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **settings: Any,
    ) -> Outcome:
        """Read the tenant with the rules in force; each of them must have fired.

        `about`: tables to read beside the core. `earlier`: start from the tenant's earlier state,
        otherwise from nothing. `simulator`: another one of the same tenant.
        """
        chosen = simulator or self.simulator
        self._count += 1
        path = self._work / f"sync{self._count}"
        if earlier:
            shutil.copytree(self._before, path, symlinks=True)
        wanted = {*CORE, *about}
        tables = tuple(name for name in TABLES if self.everything or name in wanted)
        chosen.faults(list(rules))
        chosen.reset_stats()
        try:
            outcome = self._run(
                path,
                tables,
                simulator=chosen,
                accept_shrink=frozenset(accept_shrink),
                on_progress=on_progress,
                **settings,
            )
        finally:
            self.fired = [each["fired"] for each in chosen.stats()["faults"]]
            chosen.faults([])
        assert all(self.fired), f"a fault never happened: {self.fired}"
        return outcome

    def _run(
        self,
        path: Path,
        tables: tuple[str, ...] = TABLES,
        *,
        simulator: Simulator | None = None,
        accept_shrink: frozenset[str] = frozenset(),
        on_progress: Callable[[Progress], None] | None = None,
        full: bool = True,
        **settings: Any,
    ) -> Outcome:
        chosen = settings_for(simulator or self.simulator, path, **settings)
        directory = DataDirectory.claim(path, chosen.tenant_id)
        lake, books, clock = Lake(directory.lake), Books(directory), FakeClock()
        before = {name: lake.info(name) for name in TABLES}
        sync_id = books.begin_sync("test", tables)
        client = GraphClient.from_settings(chosen, clock=clock)
        try:
            statuses = run(
                chosen,
                client,
                lake,
                books,
                sync_id,
                tables,
                full=full,
                accept_shrink=accept_shrink,
                on_progress=on_progress,
            )
        finally:
            client.close()
        known = books.statuses()
        assert {name: known[name] for name in statuses} == statuses
        return Outcome(statuses, directory, lake, clock.slept, before)

    def largest(self, table: str, column: str) -> list[str]:
        """The values of a column, the one with most rows first."""
        values = [row[column] for row in self.truth[table].to_pylist()]
        return sorted(set(values), key=lambda value: (-values.count(value), value))

    def page(self, path: str, **params: str) -> dict[str, Any]:
        """Graph's own first answer, without faults."""
        query = urllib.parse.urlencode(params, safe="$,()' ")
        url = f"{self.simulator.info.http_graph_url}/v1.0{path}?{query}".replace(" ", "%20")
        request = urllib.request.Request(
            url, headers={"Authorization": f"Bearer {self.simulator.token()}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    def check(
        self,
        outcome: Outcome,
        *,
        told: Mapping[str, tuple[Status, str]] | None = None,
        differs: Collection[str] = (),
        partial: Collection[str] = (),
    ) -> None:
        """Every table is whole with the rows of an undisturbed sync, or says why it is not.

        `told`: tables that must not be whole: their status and a part of the reason; what was
        published of them before must still be there. `differs`: tables that are whole but hold
        other rows, `partial`: tables that are published in part; the caller looks at both itself.
        """
        told = told or {}
        assert told.keys() <= outcome.statuses.keys(), "name them in about"
        for name, status in outcome.statuses.items():
            info = outcome.lake.info(name)
            if name in told:
                expected, reason = told[name]
                assert status.status is expected, f"{name}: {status.status} ({status.reason})"
                assert reason in (status.reason or ""), f"{name}: {status.reason}"
                assert info == outcome.before[name], f"{name} was published"
                rows = None if info is None else info.rows
                assert status.rows == rows, f"{name}: the status counts other rows"
                continue
            wanted = Status.PARTIAL if name in partial else Status.COMPLETE
            assert status.status is wanted, f"{name}: {status.status} ({status.reason})"
            assert info is not None
            assert info.sync_id == status.sync_id, f"{name} was not committed"
            if name not in differs and name not in partial:
                self.assert_whole(outcome, name)

    def assert_whole(self, outcome: Outcome, name: str) -> None:
        """The rows of a table are those of an undisturbed sync."""
        info = outcome.lake.info(name)
        # The digest is of all values; rows are compared one by one where something may be amiss.
        if info is None or info.digest != self.digests[name] or outcome.statuses[name].notes:
            assert_same_rows(name, outcome.rows(name), self.truth[name])


def assert_same_rows(name: str, found: pa.Table, expected: pa.Table) -> None:
    """Row for row; names a few that differ."""
    if found.equals(expected):
        return
    got, want = found.to_pylist(), expected.to_pylist()
    more = [row for row in got if row not in want][:2]
    less = [row for row in want if row not in got][:2]
    pytest.fail(f"{name}: {len(got)} rows, {len(want)} expected; unexpected {more}, missing {less}")


# ---- rules -------------------------------------------------------------------------------------


def respond(status: int, body: Any = None, **headers: str) -> Rule:
    """Answer with this instead; `Retry_After="3"` becomes a header."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"respond": {"status": status, "headers": fields, "body": body}}


def error(code: str, message: str = "no") -> dict[str, Any]:
    """An error body as Graph writes it."""
    return {"error": {"code": code, "message": message, "innerError": {"request-id": "r-1"}}}


def patch(*operations: tuple[str, str] | tuple[str, str, Any]) -> Rule:
    """RFC 6902 operations on the true answer: (op, path) or (op, path, value)."""
    named = [dict(zip(("op", "path", "value"), each, strict=False)) for each in operations]
    return {"patch": named}


def on(path: str, fault: Rule, **match: Any) -> Rule:
    """The fault for requests whose path and query the expression finds."""
    return {"match": {"path": path, **match}, **fault}


def ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of some objects."""
    return [row["id"] for row in rows]
