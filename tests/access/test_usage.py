"""Use of access: used, unused or unknown, against naive counts and at every edge of a feed."""

from __future__ import annotations

import os
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from entra_pipeline.access import past, usage
from entra_pipeline.access.engine import writing
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.access.refresh import forget_usage
from entra_pipeline.access.sums import FOLDER, DaySums
from entra_pipeline.lake import Books, DataDirectory
from entra_pipeline.lake.events import Events
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import EVENTS, Status
from tests.access.activity import DAY, TICK, Activity
from tests.access.asking import entitlement, principal
from tests.access.tenant import NOW, ZERO, Tenant
from tests.activity.support import Log
from tests.support import sync

HOUR = timedelta(hours=1)
D30, D90 = NOW - 30 * DAY, NOW - 90 * DAY
ALL = (NOW - 100 * DAY, NOW - HOUR)
SHOP = f"app:shop:{ZERO}"
CLIENT = "client-of-shop"
ROLE = "role:ga@/"


def tenant() -> Tenant:
    """Two users who hold an application, a role each way, a group; and a client of the API."""
    made = Tenant().users("ann", "bob").groups("g").members("g", "ann", "bob")
    made.app("shop").app("other").app_role("shop", ZERO, "ann", "bob", "robot")
    made.app("robot", kind="ManagedIdentity")
    return made.role("ga", "ann").eligible_role("ga", "bob")


@pytest.fixture
def activity(tmp_path: Path) -> Activity:
    return Activity(tmp_path / "lake")


@pytest.fixture(scope="module")
def unused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tenant's warehouse without any feed."""
    return tenant().build(tmp_path_factory.mktemp("unused") / "w.duckdb")


class Judge:
    """Warehouses of a tenant and of events, and what `access` says there of one hold."""

    def __init__(self, unused: Path, folder: Path) -> None:
        self.unused, self.folder, self.count = unused, folder, 0

    def __call__(self, events: Events | None, who: str = "ann", what: str = SHOP) -> dict[str, Any]:
        return said(self.refreshed(events), who, what)

    def refreshed(self, events: Events | None) -> Path:
        """The tenant's own warehouse, of which only the use is made anew, as a refresh does."""
        self.count += 1
        path = self.folder / f"{self.count}.duckdb"
        shutil.copy(self.unused, path)
        with writing(path) as connection:
            forget_usage(connection)
            usage.build(connection, events)
        return path

    def built(self, made: Tenant, events: Events | None = None) -> Path:
        """Another tenant's, built whole."""
        self.count += 1
        return made.build(self.folder / f"w{self.count}" / "w.duckdb", events)


def said(path: Path, who: str = "ann", what: str = SHOP) -> dict[str, Any]:
    """The use of one hold, which every question tells alike."""
    with Warehouse.open(path) as warehouse:
        access = warehouse.access(principal(warehouse, who)).to_json()
        holders = warehouse.who_can(entitlement(warehouse, what)).to_json()
        why = warehouse.explain(principal(warehouse, who), entitlement(warehouse, what))
    (row,) = [r for r in access["entitlements"] if r["entitlement_id"] == what]
    (same,) = [r for r in holders["principals"] if r["principal_id"] == who]
    names = ("used", "last_used", "used_30d", "used_90d", "usage_signal")
    found = {name: row[name] for name in names}
    assert found == {name: same[name] for name in names}
    assert found == {name: why.to_json()[name] for name in names}
    return found


@pytest.fixture
def judge(unused: Path, tmp_path: Path) -> Judge:
    return Judge(unused, tmp_path)


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_a_sign_in_to_the_application_is_use_of_it(activity: Activity, judge: Judge) -> None:
    activity.sign_in("ann", CLIENT, NOW - 40 * DAY).sign_in("ann", CLIENT, NOW - 2 * DAY)
    activity.sign_in("ann", "client-of-other", NOW - DAY).sign_in("bob", CLIENT, NOW - 95 * DAY)
    # Built whole with its events; of the warehouses below only the use is.
    path = judge.built(tenant(), activity.read(ALL))
    assert said(path) == {
        "used": "used",
        "last_used": text(NOW - 2 * DAY),
        "used_30d": 1,
        "used_90d": 2,
        "usage_signal": "sign_ins",
    }
    assert said(path, "bob") == {
        "used": "unused",
        "last_used": None,
        "used_30d": 0,
        "used_90d": 0,
        "usage_signal": "sign_ins",
    }


def test_what_failed_or_was_elsewhere_is_no_use(activity: Activity, judge: Judge) -> None:
    made, people = tenant().users("cy", "dora"), ("ann", "bob", "cy")
    made.app_role("shop", ZERO, "cy", "dora")
    activity.sign_in("ann", CLIENT, NOW - DAY, error_code=50126)
    activity.sign_in("bob", "client-of-other", NOW - DAY)
    activity.sign_in("dora", CLIENT, NOW - DAY)
    path = judge.built(made, activity.read(ALL))
    assert [said(path, who)["used"] for who in (*people, "dora")] == ["unused"] * 3 + ["used"]


def test_a_sign_in_that_asks_access_to_the_application_is_use_of_it(
    activity: Activity, judge: Judge
) -> None:
    activity.sign_in("ann", "client-of-other", NOW - DAY, resource_id=CLIENT.upper())
    activity.sign_in("ann", CLIENT, NOW - 2 * DAY, resource_id=CLIENT)
    assert judge(activity.read(ALL))["used_30d"] == 2


def test_a_period_begins_at_its_very_moment(activity: Activity, judge: Judge) -> None:
    edges = {
        "u1": (D30, "used", 1, 1),
        "u2": (D30 - TICK, "used", 0, 1),
        "u3": (D90, "used", 0, 1),
        "u4": (D90 - TICK, "unused", 0, 0),
    }
    made = tenant().users(*edges).app_role("shop", ZERO, *edges)
    # Others on the same days, so that these have something besides.
    for day in (30, 90):
        activity.sign_in("bob", CLIENT, NOW - day * DAY + HOUR)
    for who, (at, *_) in edges.items():
        activity.sign_in(who, CLIENT, at)
    path = judge.built(made, activity.read(ALL))
    for who, (_, *expected) in edges.items():
        found = said(path, who)
        assert [found["used"], found["used_30d"], found["used_90d"]] == expected


@pytest.mark.parametrize(
    ("spans", "used", "recent"),
    [
        pytest.param([(D90, NOW)], "unused", 0, id="whole"),
        pytest.param([(D90 + TICK, NOW)], "unknown", 0, id="one tick short of ninety days"),
        pytest.param([(D30, NOW)], "unknown", 0, id="thirty days"),
        pytest.param([(D30 + TICK, NOW)], "unknown", None, id="one tick short of thirty days"),
        pytest.param([(D90, NOW - 26 * HOUR)], "unused", 0, id="read yesterday"),
        pytest.param([(D90, NOW - 26 * HOUR - TICK)], "unknown", None, id="read too long ago"),
        pytest.param(
            [(D90, NOW - 40 * DAY), (NOW - 40 * DAY + TICK, NOW)], "unknown", 0, id="a gap"
        ),
        pytest.param(
            [(D90, NOW - 9 * DAY), (NOW - 8 * DAY, NOW)], "unknown", None, id="a recent gap"
        ),
        pytest.param([(NOW, NOW + DAY)], "unknown", None, id="only read later"),
        pytest.param([], "unknown", None, id="never read whole"),
    ],
)
def test_no_sign_in_is_unused_only_if_the_whole_period_was_read(
    activity: Activity,
    judge: Judge,
    spans: list[tuple[datetime, datetime]],
    used: str,
    recent: int | None,
) -> None:
    activity.sign_in("bob", CLIENT, NOW - 2 * DAY)
    found = judge(activity.read(*spans))
    assert (found["used"], found["used_30d"]) == (used, recent)
    assert found["used_90d"] == (0 if used == "unused" else None)


def test_a_sign_in_before_a_gap_is_use_all_the_same(activity: Activity, judge: Judge) -> None:
    activity.sign_in("ann", CLIENT, NOW - 50 * DAY)
    found = judge(activity.read((D90, NOW - 45 * DAY), (NOW - 44 * DAY, NOW)))
    assert (found["used"], found["last_used"]) == ("used", text(NOW - 50 * DAY))
    assert (found["used_30d"], found["used_90d"]) == (0, None)


def test_without_any_feed_everything_is_unknown(tmp_path: Path) -> None:
    for events in (None, Events(tmp_path / "lake")):
        stage = tenant().build(tmp_path / "w.duckdb", events)
        with Warehouse.open(stage) as warehouse:
            for one in ("ann", "bob", "robot", "g"):
                rows = warehouse.access(principal(warehouse, one)).to_json()["entitlements"]
                assert {row["used"] for row in rows} <= {"unknown"}
                assert {row["used_90d"] for row in rows} <= {None}
            feeds = warehouse.access(principal(warehouse, "ann")).to_json()["usage"]["feeds"]
            assert {f["feed"]: f["status"] for f in feeds} == {
                "sign_ins": "never",
                "directory_audits": "never",
                "user_sign_in_activity": "complete",
            }


@pytest.mark.parametrize("status", [Status.UNLICENSED, Status.UNSUPPORTED, Status.FORBIDDEN])
def test_a_feed_that_cannot_be_read_says_why_and_nothing_is_unused(
    activity: Activity, tmp_path: Path, status: Status
) -> None:
    events = Events(activity.path)
    table = EVENTS["sign_ins"]
    events.note(table, status, sync_id="s", as_of=NOW - HOUR, reason="because")
    with Warehouse.open(tenant().build(tmp_path / "w.duckdb", events)) as warehouse:
        answer = warehouse.access(principal(warehouse, "ann")).to_json()
    (feed,) = [f for f in answer["usage"]["feeds"] if f["feed"] == "sign_ins"]
    assert (feed["status"], feed["reason"], feed["since"]) == (status, "because", None)
    assert {row["used"] for row in answer["entitlements"]} == {"unknown"}


def test_service_principals_are_used_or_unknown(activity: Activity, judge: Judge) -> None:
    assert judge(activity.read(ALL), "robot")["used"] == "unknown"
    activity.add(
        "sign_ins",
        created_date_time=NOW - DAY,
        service_principal_id="robot",
        app_id="client-of-robot",
        resource_id=CLIENT,
        error_code=0,
    )
    found = judge(activity.read(ALL), "robot")
    assert (found["used"], found["last_used"]) == ("used", text(NOW - DAY))
    assert found["used_30d"] is None


def test_a_group_and_a_licence_have_no_sign_of_use(activity: Activity, judge: Judge) -> None:
    activity.sign_in("ann", CLIENT, NOW - DAY).audit("ann", NOW - DAY)
    found = judge(activity.read(ALL), what="group:g:member")
    assert (found["used"], found["usage_signal"]) == ("unknown", None)


@pytest.mark.parametrize(
    "name",
    [
        "Add member to role completed (PIM activation)",
        "ADD MEMBER TO ROLE COMPLETED (PIM Activation) (directory scoped)",
        "Add member to role outside of PIM - completed (PIM activation)",
    ],
)
def test_activating_an_eligible_role_is_use_of_it(
    activity: Activity, judge: Judge, name: str
) -> None:
    activity.activation("bob", "ga", NOW - 35 * DAY, name).audit("bob", NOW - DAY)
    found = judge(activity.read(ALL), "bob", ROLE)
    assert found == {
        "used": "used",
        "last_used": text(NOW - 35 * DAY),
        "used_30d": 0,
        "used_90d": 1,
        "usage_signal": "activations",
    }


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("Add member to role requested (PIM activation)", {}),
        ("Remove member from role (PIM activation expired)", {}),
        ("Add member to role completed (PIM activation)", {"result": "failure"}),
        ("Add member to role in PIM completed (permanent)", {}),
        ("Add eligible member to role in PIM completed (timebound)", {}),
    ],
)
def test_what_is_no_completed_activation_is_no_use_of_an_eligible_role(
    activity: Activity, judge: Judge, name: str, more: dict[str, Any]
) -> None:
    activity.activation("bob", "ga", NOW - DAY, name, **more)
    activity.activation("bob", "other-role", NOW - DAY).activation("ann", "ga", NOW - DAY)
    assert judge(activity.read(ALL), "bob", ROLE)["used"] == "unused"


def test_an_activation_counts_once_by_whichever_id_names_the_role(
    activity: Activity, judge: Judge
) -> None:
    details = [
        {"key": "RoleDefinitionOriginId", "value": "GA"},
        {"key": "TemplateId", "value": "ga"},
    ]
    activity.activation("bob", "object-id", NOW - DAY, additional_details=details)
    assert judge(activity.read(ALL), "bob", ROLE)["used_30d"] == 1


def test_who_is_eligible_by_a_group_may_use_it_without_activating_the_role(
    activity: Activity, judge: Judge
) -> None:
    made = tenant().groups("admins", is_assignable_to_role=True).eligible_member("admins", "ann")
    made.rows["role_assignments"].clear()
    made.role("ga", "admins")
    assert said(judge.built(made, activity.read(ALL)), "ann", ROLE)["used"] == "unknown"


def test_an_active_role_is_used_by_changes_and_never_unused_for_want_of_them(
    activity: Activity, judge: Judge
) -> None:
    found = judge(activity.read(ALL), "ann", ROLE)
    assert (found["used"], found["used_90d"]) == ("unknown", None)
    activity.audit("ann", NOW - 31 * DAY).audit("ann", NOW - DAY, result="failure")
    found = judge(activity.read(ALL), "ann", ROLE)
    assert (found["used"], found["last_used"]) == ("used", text(NOW - 31 * DAY))
    assert (found["used_30d"], found["used_90d"]) == (None, 1)


def test_who_has_not_signed_in_at_all_has_used_nothing(judge: Judge) -> None:
    last = {"ann": None, "u2": D90 - TICK, "u3": D90, "u4": NOW - DAY}
    made = tenant().users("u2", "u3", "u4").app_role("shop", ZERO, "u2", "u3", "u4")
    made.role("ga", "u2", "u3", "u4").members("g", "u2", "u3", "u4")
    for who, at in last.items():
        made.add(
            "user_sign_in_activity",
            user_id=who,
            last_sign_in_date_time=NOW - 200 * DAY,
            last_non_interactive_sign_in_date_time=at,
        )
    path = judge.built(made)
    for who, used in zip(last, ("unused", "unused", "unknown", "unknown"), strict=True):
        for what in (SHOP, ROLE):
            assert said(path, who, what)["used"] == used
        assert said(path, who, "group:g:member")["used"] == "unknown"
    # Of whom there is no row nothing is known.
    assert said(path, "bob")["used"] == "unknown"


def test_a_record_of_sign_ins_that_is_old_or_not_whole_proves_nothing(judge: Judge) -> None:
    for status, as_of in ((Status.STALE, NOW), (Status.COMPLETE, NOW - 51 * HOUR)):
        made = tenant().add("user_sign_in_activity", user_id="ann")
        known = made.statuses["user_sign_in_activity"]
        made.statuses["user_sign_in_activity"] = type(known)(
            known.table, status, as_of=as_of, reason="old"
        )
        assert said(judge.built(made))["used"] == "unknown"


def test_last_sign_ins_come_from_the_users_own_record_else_from_events(
    activity: Activity, tmp_path: Path
) -> None:
    made = tenant().add(
        "user_sign_in_activity", user_id="ann", last_sign_in_date_time=NOW - 3 * DAY
    )
    activity.sign_in("ann", CLIENT, NOW - 4 * DAY).sign_in("bob", CLIENT, NOW - 5 * DAY)
    activity.sign_in("bob", CLIENT, NOW - 2 * DAY, is_interactive=False)
    stage = made.build(tmp_path / "w.duckdb", activity.read(ALL))
    with duckdb.connect(str(stage), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute(
            "SELECT principal_id, source, last_interactive, last_non_interactive"
            " FROM principal_usage ORDER BY 1"
        ).fetchall()
    assert rows == [
        ("ann", "user_sign_in_activity", NOW - 3 * DAY, None),
        ("bob", "sign_ins", NOW - 5 * DAY, NOW - 2 * DAY),
    ]


# ---- against a naive count ---------------------------------------------------------------------


def naive(
    rows: list[dict[str, Any]], user: str, app: str, now: datetime, until: datetime
) -> tuple[datetime | None, int, int]:
    """Last use, and how many in 30 and 90 days, one event at a time."""
    times = [
        row["created_date_time"]
        for row in rows
        if row["user_id"] == user
        and app in (row["app_id"], row.get("resource_id"))
        and row["error_code"] == 0
        and now - 90 * DAY <= row["created_date_time"] < until
    ]
    return max(times, default=None), sum(t >= now - 30 * DAY for t in times), len(times)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 2, 3))])
def test_numbers_are_those_of_a_naive_count(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    users, apps = [f"u{i}" for i in range(6)], [f"a{i}" for i in range(5)]
    made = Tenant().users(*users)
    for app in apps:
        made.app(app).app_role(app, ZERO, *users)
    activity = Activity(tmp_path / "lake")
    until = NOW - rng.random() * DAY
    for _ in range(600):
        activity.sign_in(
            rng.choice(users),
            f"client-of-{rng.choice(apps)}",
            NOW - rng.choice((rng.random() * 100, 30, 90, rng.random() * 2)) * DAY,
            error_code=rng.choice((0, 0, 0, 50126)),
            resource_id=rng.choice((None, "elsewhere", f"client-of-{rng.choice(apps)}")),
        )
    rows = list(activity.rows["sign_ins"])
    events = activity.read((NOW - 95 * DAY, until))
    with Warehouse.open(made.build(tmp_path / "w.duckdb", events)) as warehouse:
        seen = set()
        for user in users:
            held = warehouse.access(principal(warehouse, user)).entitlements
            for app in apps:
                (use,) = [r.use for r in held if r.resource.id == app]
                last, recent, long = naive(rows, user, f"client-of-{app}", NOW, until)
                assert (use.last_used, use.used_30d, use.used_90d) == (last, recent, long)
                assert use.used == ("used" if last else "unused")
                seen.add(use.used)
        assert "used" in seen


def day_files(events: Events) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in (events.root / FOLDER / "sign_ins").glob("2*.parquet"):
        found.setdefault(path.name[:10], set()).add(path.name)
    return found


def test_each_whole_day_is_summed_once_and_again_only_if_its_events_changed(
    activity: Activity, judge: Judge
) -> None:
    for days in range(1, 95):
        activity.sign_in("ann", CLIENT, NOW - days * DAY - HOUR)
    events = activity.read(ALL)
    first = judge(events)
    kept = day_files(events)
    # Not the days at the ends of the periods: only a part of them is in.
    assert len(kept) == 88
    assert (NOW - 30 * DAY).date().isoformat() not in kept
    # All of them but the last two, which late events change, are added up once.
    (added,) = (events.root / FOLDER).rglob("days-*.parquet")
    stored = {p: p.stat().st_ino for p in (events.root / FOLDER).rglob("*.parquet")}
    assert judge(events) == first
    assert stored == {p: p.stat().st_ino for p in (events.root / FOLDER).rglob("*.parquet")}
    late = NOW - 50 * DAY
    events = activity.sign_in("ann", CLIENT, late).read()
    assert judge(events)["used_90d"] == first["used_90d"] + 1
    changed = {day for day, names in day_files(events).items() if names != kept.get(day)}
    assert changed == {late.date().isoformat()}
    assert {*(events.root / FOLDER).rglob("days-*.parquet")} > {added}


def test_sums_of_days_that_were_forgotten_go_after_a_grace(
    activity: Activity, judge: Judge
) -> None:
    for days in (10, 60):
        activity.sign_in("ann", CLIENT, NOW - days * DAY)
    events = activity.read(ALL)
    judge(events)
    events.forget("sign_ins", NOW - 30 * DAY)
    assert DaySums(events, "sign_ins").clear() == 0
    for path in (events.root / FOLDER).rglob("*.parquet"):
        os.utime(path, (0, 0))
    # The day's, and what both days were added up to, unused for long.
    assert DaySums(events, "sign_ins").clear() == 2
    assert set(day_files(events)) == {(NOW - 10 * DAY).date().isoformat()}
    path = judge.refreshed(events)
    assert said(path)["used"] == "used"
    assert said(path, "bob")["used"] == "unknown"


# ---- asked for ---------------------------------------------------------------------------------


def test_unused_lists_what_is_certain_and_counts_what_is_not(tmp_path: Path) -> None:
    made = Tenant().users("ann", *(f"u{i:02}" for i in range(20))).groups("g")
    made.members("g", "ann").app("robot", kind="ManagedIdentity")
    made.app("shop").app_role("shop", ZERO, "ann", *(f"u{i:02}" for i in range(20)), "robot")
    activity = Activity(tmp_path / "lake").sign_in("ann", CLIENT, NOW - 40 * DAY)
    for i in range(5):
        activity.sign_in(f"u{i:02}", CLIENT, NOW - DAY)
    events = activity.read((NOW - 60 * DAY, NOW))
    with Warehouse.open(made.build(tmp_path / "w.duckdb", events)) as warehouse:
        shop = entitlement(warehouse, SHOP)
        answer = warehouse.who_can(shop, unused=30)
        names = [row.principal_id for row in answer.principals]
        assert names == ["ann", *(f"u{i:02}" for i in range(5, 20))]
        assert {row.use.used for row in answer.principals} == {"unused"}
        assert (answer.usage.days, answer.usage.unknown) == (30, 1)
        pages, cursor = [], None
        while True:
            page = warehouse.who_can(shop, unused=30, limit=7, cursor=cursor)
            pages += [row.principal_id for row in page.principals]
            if (cursor := page.cursor) is None:
                break
        assert pages == names
        assert [
            (row.entitlement_id, row.use.used)
            for row in warehouse.access(principal(warehouse, "ann"), unused=30).entitlements
        ] == [(SHOP, "unused")]
        # Ninety days were not read: nothing is certain, but for who has used it.
        long = warehouse.who_can(shop, unused=90)
        assert (long.principals, long.usage.unknown) == ((), 15 + 1)


# ---- against a simulated tenant ----------------------------------------------------------------


def test_use_in_a_simulated_tenant_is_that_of_its_logs_now_and_as_of(tmp_path: Path) -> None:
    home = tmp_path / "data"
    logs = {"sign_ins_per_day": 200, "audits_per_day": 100, "audit_days": 4}
    with running(users=60, groups=10, **logs) as simulator:
        log = Log(simulator, tmp_path)
        log.read()
        truth = list(log.truth("sign_ins").values())
        audits = list(log.truth("directory_audits").values())
        log.close()
        sync(simulator, home)
        directory = DataDirectory.existing(home)
        link = directory.warehouse_link.resolve()
        published = told(link)
        record = Books(directory).syncs()[-1]
        with duckdb.connect(str(link), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            until = dict(connection.execute("SELECT feed, until FROM usage_coverage").fetchall())
            actors = connection.execute(
                "SELECT principal_id, last_directory_change, directory_changes_30d"
                " FROM principal_usage WHERE directory_changes_30d > 0"
            ).fetchall()
        check_sign_ins(published["usage"], truth, record.started, until["sign_ins"])
        check_actors(actors, audits, record.started, until["directory_audits"])
        # What is read and published later changes nothing about that moment.
        log = Log(simulator, tmp_path)
        log.advance(2 * HOUR)
        log.read()
        log.close()
        simulator.mutate(seed=1, changes=20)
        sync(simulator, home)
    assert (
        told(past.warehouse(directory, past.after(Books(directory), record.sync_id))) == published
    )
    assert told(directory.warehouse_link.resolve()) != published


def told(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall()
            for name in ("usage", "role_usage", "principal_usage", "usage_coverage")
        }


def check_sign_ins(
    rows: list[tuple[Any, ...]], truth: list[dict[str, Any]], now: datetime, until: datetime
) -> None:
    """Every row of `usage` against the simulator's own log."""
    expected: dict[tuple[str, str, str, str], list[datetime]] = {}
    for event in truth:
        at = datetime.fromisoformat(event["createdDateTime"])
        if event["status"]["errorCode"] != 0 or not now - 90 * DAY <= at < until:
            continue
        for capacity, app in (("client", event["appId"]), ("resource", event["resourceId"])):
            if capacity == "resource" and app == event["appId"]:
                continue  # counted already
            key = (event["userId"], app, capacity, "interactive")
            expected.setdefault(key, []).append(at)
    assert len(expected) > 200
    found = {row[:4]: row[5:] for row in rows}
    assert found == {
        key: (max(times), sum(t >= now - 30 * DAY for t in times), len(times))
        for key, times in expected.items()
    }


def check_actors(
    rows: list[tuple[Any, ...]], truth: list[dict[str, Any]], now: datetime, until: datetime
) -> None:
    expected: dict[str, list[datetime]] = {}
    for event in truth:
        at = datetime.fromisoformat(event["activityDateTime"][:26] + "+00:00")
        actor = (event["initiatedBy"].get("user") or {}).get("id")
        if actor and event["result"] == "success" and now - 30 * DAY <= at < until:
            expected.setdefault(actor, []).append(at)
    found = {row[0]: row[2] for row in rows}
    assert {who: n for who, n in found.items() if who in expected} == {
        who: len(times) for who, times in expected.items() if who in found
    }
    assert len(found) > 10
