"""What changed, read by delta, makes every table what a full read makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.extract.followed import FEEDS, FOLLOWED
from entra_pipeline.extract.notes import DOUBTED, NO_DELTA
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import Status
from tests.extract.support import Rig, assert_by_changes, assert_like_a_full_read

TABLES = tuple(FOLLOWED)
U = "22222222-2222-4222-8222-%012d"
G = "33333333-3333-4333-8333-%012d"


def lists_read(rig: Rig) -> set[str]:
    """Which collections were listed since the statistics were reset."""
    routes = rig.simulator.stats()["by_route"]
    return {route for route in routes if route in {f"GET /{name}" for name in _LISTS}}


_LISTS = (
    "users",
    "groups",
    "servicePrincipals",
    "directory/administrativeUnits",
    "contacts",
    "oauth2PermissionGrants",
)

# ---- the heart of it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        pytest.param(1, {}, marks=pytest.mark.soak),
        # Rounds on several pages, groups in slices, earlier changes told once more.
        (2, {"delta_page": 7, "delta_slice": 3, "delta_replays": 40}),
    ],
)
def test_rounds_of_changes_leave_every_table_as_a_full_read_does(
    tmp_path: Path, seed: int, options: dict[str, Any]
) -> None:
    done: Counter[str] = Counter()
    with running(users=120, groups=60, seed=5, **options) as simulator:
        rig = Rig(simulator, tmp_path)
        rig.sync(*TABLES)
        for number in range(5):
            for change in simulator.mutate(1000 * seed + number, 120):
                done[f"{change['op']} {change['target']}"] += 1
            assert_by_changes(rig.sync(*TABLES))
            assert_like_a_full_read(rig, tmp_path / f"full-{number}", *TABLES)
        rig.close()
    # Nothing of the above is worth much if the changes were harmless ones.
    for rare in ("soft_delete users", "soft_delete groups", "restore users", "remove users"):
        assert done[rare], rare


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 22))
def test_many_rounds_of_changes_leave_every_table_as_a_full_read_does(
    tmp_path: Path, seed: int
) -> None:
    with running(users=900, groups=300, seed=seed, delta_replays=seed % 3 * 50) as simulator:
        rig = Rig(simulator, tmp_path)
        rig.sync(*TABLES)
        for number in range(12):
            simulator.mutate(1000 * seed + number, 30 * (1 + number % 5) ** 2)
            assert_by_changes(rig.sync(*TABLES))
            assert_like_a_full_read(rig, tmp_path / f"full-{number}", *TABLES)
        rig.close()


# ---- what it costs -----------------------------------------------------------------------------


def test_a_sync_without_changes_costs_one_round_trip_a_feed_and_writes_no_data(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    first = rig.sync(*TABLES)
    files = {name: rig.lake.files(name) for name in TABLES}
    for _ in range(2):
        changing.reset_stats()
        again = rig.sync(*TABLES)
        assert_by_changes(again)
        assert changing.stats()["round_trips"] == len(FEEDS) + 1  # the audits
        assert {name: rig.lake.files(name) for name in TABLES} == files
    for name in TABLES:
        assert again[name].rows == first[name].rows
        info, before = rig.lake.info(name), first[name].as_of
        assert info is not None
        assert before is not None
        assert info.as_of > before == info.full_as_of
    rig.close()


# ---- when to read in full ----------------------------------------------------------------------


def test_full_reads_happen_when_asked_for_or_when_the_last_is_too_old(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    for settings, full, expected in (
        ({}, False, set()),
        ({}, True, {f"GET /{name}" for name in _LISTS}),
        ({"full_read_days": 0}, False, {f"GET /{name}" for name in _LISTS}),
        ({}, False, set()),
    ):
        rig.set(**settings)
        changing.reset_stats()
        rig.sync(*TABLES, full=full)
        assert lists_read(rig) == expected
    rig.close()


def test_other_properties_to_be_read_mean_a_full_read(changing: Simulator, tmp_path: Path) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync("users")
    rig.set(on_premises_extension_attributes=True)
    changing.reset_stats()
    rig.sync("users")
    assert lists_read(rig) == {"GET /users"}
    rig.close()


def test_settings_that_leave_out_rows_mean_full_reads(changing: Simulator, tmp_path: Path) -> None:
    names = ("users", "groups", "group_members", "group_owners")
    rig = Rig(changing, tmp_path, skip_ad_groups=True)
    rig.sync(*names)
    changing.mutate(2, 60)
    changing.reset_stats()
    statuses = rig.sync(*names)
    assert {(s.status, s.reason) for s in statuses.values()} == {(Status.COMPLETE, None)}
    # Users go by changes, and the groups' reader still learns which of them are synced.
    assert lists_read(rig) == {"GET /groups", "GET /servicePrincipals"}
    fresh = Rig(changing, tmp_path / "fresh", skip_ad_groups=True)
    fresh.sync(*names)
    assert [rig.digest(name) for name in names] == [fresh.digest(name) for name in names]
    fresh.close()
    rig.set(skip_ad_groups=False)
    for number in range(2):
        rig.sync(*names)
        assert_like_a_full_read(rig, tmp_path / f"full-{number}", *names)
    changing.reset_stats()
    assert_by_changes(rig.sync(*names))
    assert lists_read(rig) == set()
    rig.close()


@pytest.mark.parametrize("how", ["expire", "reset"])
def test_dead_links_lead_to_a_full_read_and_from_there_on(
    changing: Simulator, tmp_path: Path, how: Any
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    changing.mutate(3, 150)
    changing.end_deltas(how)
    statuses = rig.sync(*TABLES)
    assert {s.status for s in statuses.values()} == {Status.COMPLETE}
    assert all(DOUBTED in statuses[n].notes for n in ("users", "groups", "group_owners"))
    assert_like_a_full_read(rig, tmp_path / "full-1", *TABLES)
    changing.mutate(4, 50)
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full-2", *TABLES)
    rig.close()


def test_a_link_that_lived_too_long_leads_to_a_full_read(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync("contacts")
    changing.advance(7 * 86_400 + 60)
    changing.reset_stats()
    assert rig.sync("contacts")["contacts"].status is Status.COMPLETE
    assert lists_read(rig) == {"GET /contacts"}
    rig.close()


def test_a_cloud_without_a_feed_goes_on_with_full_reads(tmp_path: Path) -> None:
    with running(users=20, groups=10, seed=3, cloud="china") as simulator:
        rig = Rig(simulator, tmp_path, cloud="china")
        for _ in range(2):
            status = rig.sync("administrative_units")["administrative_units"]
            assert (status.status, status.notes.get(NO_DELTA)) == (Status.COMPLETE, 1)
        rig.close()


def test_so_many_removals_that_they_are_not_believed_are_judged_by_a_full_read(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(users=[person(n) for n in range(40)])
    rig.sync("users")
    gone = [{"id": U % n, "@removed": {"reason": "deleted"}} for n in range(30)]
    answer = {"value": gone, "@odata.deltaLink": "{base}/v1.0/users/delta?$deltatoken=x"}
    rig.simulator.faults(
        [{"match": {"path": "/users/delta"}, "respond": {"status": 200, "body": answer}}]
    )
    status = rig.sync("users")["users"]
    assert (status.status, status.rows) == (Status.COMPLETE, 40)
    assert status.notes.get(DOUBTED) == 1


def test_objects_that_come_without_their_properties_are_read_in_full(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(users=[person(n) for n in range(3)])
    rig.sync("users", "license_assignments")
    before = rig.digest("users")
    answer = {
        "value": [{"id": U % 1, "accountEnabled": True}],
        "@odata.deltaLink": "{base}/v1.0/users/delta?$deltatoken=x",
    }
    rig.simulator.faults(
        [{"match": {"path": "/users/delta"}, "respond": {"status": 200, "body": answer}}]
    )
    statuses = rig.sync("users", "license_assignments")
    assert statuses["users"].notes.get(DOUBTED) == 1
    assert rig.digest("users") == before


# ---- places ------------------------------------------------------------------------------------


def test_tables_synced_apart_catch_up_and_then_share_their_rounds(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    for number, names in enumerate((("users",), ("group_members",), ("group_owners", "groups"))):
        changing.mutate(50 + number, 80)
        assert_by_changes(rig.sync(*names))
        assert_like_a_full_read(rig, tmp_path / f"full-{number}", *names)
    changing.mutate(60, 80)
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
    changing.reset_stats()
    assert_by_changes(rig.sync(*TABLES))
    # The feeds and the audits; besides what is read once more because Graph may not have settled.
    feeds = {f"GET /{feed.path.lstrip('/')}": 1 for feed in FEEDS.values()}
    by_route = changing.stats()["by_route"]
    assert {route: by_route.get(route) for route in feeds} == feeds
    rig.close()


def test_a_table_that_could_not_be_committed_catches_up(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    changing.mutate(7, 120)
    folder = rig.lake.root / "license_assignments"
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("in the way")
    statuses = rig.sync(*TABLES)
    failed = [name for name, status in statuses.items() if status.status is Status.FAILED]
    assert failed == ["license_assignments"]
    folder.unlink()
    aside.rename(folder)
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
    rig.close()


def test_what_changes_while_a_full_read_goes_on_comes_with_the_next_round(tmp_path: Path) -> None:
    with running(users=300, groups=150, seed=9, latency_ms=30) as simulator:
        rig = Rig(simulator, tmp_path)
        extraction = rig.extraction(*TABLES)
        extraction.start()
        for number in range(6):
            simulator.mutate(number, 40)
        extraction.close()
        statuses = {name: extraction.result(name) for name in TABLES}
        left = [name for name, s in statuses.items() if s.status is not Status.COMPLETE]
        rig.sync(*left, *TABLES)
        rig.sync(*TABLES)
        assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
        rig.close()


# ---- links that Graph does not announce --------------------------------------------------------


def person(number: int) -> dict[str, Any]:
    return {
        "id": U % number,
        "displayName": f"User {number}",
        "userPrincipalName": f"user{number}@example.org",
        "licenseAssignmentStates": [],
    }


def team(number: int) -> dict[str, Any]:
    return {
        "id": G % number,
        "displayName": f"Group {number}",
        "groupTypes": [],
        "mailEnabled": False,
        "securityEnabled": True,
    }


def test_a_membership_told_of_a_user_who_is_gone_is_not_believed(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=[person(n) for n in range(3)],
        groups=[team(0), team(1)],
        group_members={G % 0: [U % 0], G % 1: [U % 1]},
    )
    rig.sync("users", "groups", "group_members")
    links = [{"@odata.type": "#microsoft.graph.user", "id": U % n} for n in (2, 77)]
    answer = {
        "value": [{**team(0), "members@delta": links}],
        "@odata.deltaLink": "{base}/v1.0/groups/delta?$deltatoken=x",
    }
    rig.simulator.faults(
        [{"match": {"path": "/groups/delta"}, "respond": {"status": 200, "body": answer}}]
    )
    rig.sync("users", "groups", "group_members")
    members = {(row["group_id"], row["member_id"]) for row in rig.rows("group_members")}
    # User 2 is one who is there: what is told of them is believed.
    assert members == {(G % 0, U % 0), (G % 0, U % 2), (G % 1, U % 1)}
