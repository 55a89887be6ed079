"""Tables without a feed: read again where audits, comings and goings, or due times point."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.extract.followed import FEEDS, HINTED
from entra_pipeline.extract.hints import Hinted
from entra_pipeline.extract.notes import DOUBTED, NO_DELTA
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import Status
from tests.extract.support import Rig, assert_by_changes, assert_like_a_full_read
from tests.extract.test_delta import person, team

TABLES = ("groups", *sorted(HINTED))
ROLES = (
    "groups",
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
)
INSTANCES = "roleManagement/directory/roleAssignmentScheduleInstances"
U = "22222222-2222-4222-8222-%012d"
G = "33333333-3333-4333-8333-%012d"
ROLE = "44444444-4444-4444-8444-%012d"


def requests(rig: Rig, path: str) -> int:
    """How many requests a collection had since the statistics were reset."""
    by_route: dict[str, int] = rig.simulator.stats()["by_route"]
    return by_route.get(f"GET /{path}", 0)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instance(number: int, holder: int, **more: Any) -> dict[str, Any]:
    """A schedule instance of a role."""
    return {
        "id": f"instance-{number:04d}",
        "principalId": U % holder,
        "roleDefinitionId": ROLE % 0,
        "directoryScopeId": "/",
        "assignmentType": "Assigned",
        "memberType": "Direct",
        "startDateTime": "2026-01-01T00:00:00Z",
        "endDateTime": None,
        **more,
    }


@pytest.fixture
def roles(golden: Callable[..., Rig]) -> Callable[..., Rig]:
    """A tenant with more instances than some principals are worth reading again for."""

    def make(*further: dict[str, Any], **settings: Any) -> Rig:
        return golden(
            settings,
            users=[person(n) for n in range(260)],
            groups=[{**team(n), "isAssignableToRole": n < 10} for n in range(30)],
            role_definitions=[{"id": ROLE % 0, "displayName": "Reader", "isBuiltIn": False}],
            role_assignment_schedule_instances=[
                *(instance(n, n) for n in range(10, 260)),
                *further,
            ],
            role_eligibility_schedule_instances=[instance(n, n) for n in range(10, 260)],
            role_assignments=[
                {
                    "id": f"assignment-{n}",
                    "principalId": U % n,
                    "roleDefinitionId": ROLE % 0,
                    "directoryScopeId": "/",
                }
                for n in range(10, 30)
            ],
        )

    return make


# ---- the whole of it ---------------------------------------------------------------------------


def test_a_sync_of_all_tables_after_no_change_takes_few_round_trips_and_writes_no_data(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    names = tuple(rig.sync())
    rig.sync()
    files = {name: rig.lake.files(name) for name in names}
    changing.reset_stats()
    assert_by_changes(rig.sync())
    # The feeds, the audits, the small lists in one batch, the policies with a pace of their own.
    assert changing.stats()["round_trips"] == len(FEEDS) + 3
    assert {name: rig.lake.files(name) for name in names} == files
    rig.close()


def test_rounds_of_changes_leave_all_tables_as_full_reads_do(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    names = tuple(rig.sync())
    for number in range(2):
        changing.mutate(500 + number, 100)
        assert_by_changes(rig.sync())
        assert_like_a_full_read(rig, tmp_path / f"full-{number}", *names)
    rig.close()


# ---- when there are no hints -------------------------------------------------------------------


def without_permission() -> dict[str, Any]:
    return {"without_permission": ["AuditLog.Read.All"]}


@pytest.mark.parametrize(
    ("settings", "options"),
    [({"disable_audit_log_feed": True}, {}), ({}, without_permission())],
    ids=["switched off", "not permitted"],
)
def test_without_audits_the_tables_are_read_whole(
    tmp_path: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    with running(users=80, groups=40, seed=6, **options) as simulator:
        rig = Rig(simulator, tmp_path, **settings)
        rig.sync(*TABLES)
        simulator.mutate(1, 120)
        statuses = rig.sync(*TABLES)
        assert_by_changes({"groups": statuses["groups"]})
        for name in sorted(HINTED):
            assert statuses[name].status is Status.COMPLETE, name
            assert statuses[name].notes.get(NO_DELTA), name
            assert DOUBTED not in statuses[name].notes, name
        assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
        rig.close()


def test_what_happened_while_the_audits_were_away_is_not_missed(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    rig.set(disable_audit_log_feed=True)
    changing.mutate(1, 60)
    rig.sync("role_assignments")
    rig.set(disable_audit_log_feed=False)
    changing.mutate(2, 60)
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
    rig.close()


def test_audits_that_fail_in_the_middle_lead_to_whole_reads(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    changing.mutate(3, 80)
    body = {"error": {"code": "UnknownError", "message": ""}}
    changing.faults(
        [{"match": {"path": "directoryAudits"}, "respond": {"status": 400, "body": body}}]
    )
    statuses = rig.sync(*TABLES)
    changing.faults([])
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}
    assert_like_a_full_read(rig, tmp_path / "full-1", *TABLES)
    changing.mutate(4, 80)
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full-2", *TABLES)
    rig.close()


# ---- places ------------------------------------------------------------------------------------


def test_a_table_that_could_not_be_committed_hears_of_its_audits_again(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    changing.mutate(7, 150)
    for name in ("role_assignments", "app_role_assignments", "credentials"):
        folder = rig.lake.root / name
        folder.rename(folder.with_name(f"{name}.aside"))
        folder.write_text("in the way")
    statuses = rig.sync(*TABLES)
    failed = {name for name, status in statuses.items() if status.status is Status.FAILED}
    assert failed == {"role_assignments", "app_role_assignments", "credentials"}
    for name in failed:
        folder = rig.lake.root / name
        folder.unlink()
        folder.with_name(f"{name}.aside").rename(folder)
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
    rig.close()


def test_tables_read_apart_keep_their_own_places_among_the_audits(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*TABLES)
    for number, name in enumerate(TABLES):
        changing.mutate(20 + number, 30)
        if number % 3 == 0:
            assert_by_changes(rig.sync(name))
    assert_by_changes(rig.sync(*TABLES))
    assert_like_a_full_read(rig, tmp_path / "full", *TABLES)
    rig.close()


def test_audits_seen_before_are_not_told_again(changing: Simulator, tmp_path: Path) -> None:
    rig = Rig(changing, tmp_path)
    changing.mutate(1, 40)
    hinted = Hinted(rig.settings, rig.client)
    later = datetime.now(UTC) + timedelta(minutes=10)
    first = hinted.read(datetime.now(UTC))
    assert first is not None
    assert first[0].tables
    # As if the first reading had been long enough ago for Graph to have settled.
    second = hinted.read(later, first[1])
    assert second is not None
    assert (dict(second[0].tables), second[1]) == ({}, first[1])
    changing.mutate(2, 40)
    third = hinted.read(later, first[1])
    assert third is not None
    assert third[0].tables
    rig.close()


# ---- what is read again ------------------------------------------------------------------------


def test_only_the_principals_named_are_read_again(
    roles: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = roles()
    rig.sync(*ROLES)
    rig.simulator.mutate(1, 12)
    rig.simulator.reset_stats()
    assert_by_changes(rig.sync(*ROLES))
    assert 0 < requests(rig, INSTANCES) <= 60
    # A page of it would be in no batch.
    assert rig.simulator.stats()["by_route"].get(f"GET /{INSTANCES}", 0) == requests(rig, INSTANCES)
    assert_like_a_full_read(rig, tmp_path / "full", *ROLES)


@pytest.mark.parametrize("seed", [1, 2])
def test_rounds_of_role_changes_leave_the_tables_as_full_reads_do(
    roles: Callable[..., Rig], tmp_path: Path, seed: int
) -> None:
    rig = roles()
    rig.sync(*ROLES)
    for number in range(2):
        rig.simulator.mutate(100 * seed + number, 40)
        assert_by_changes(rig.sync(*ROLES))
        assert_like_a_full_read(rig, tmp_path / f"full-{number}", *ROLES)


def test_what_ends_by_itself_is_read_again_when_it_is_due(roles: Callable[..., Rig]) -> None:
    now = datetime.now(UTC)
    long_ago, ended = now - timedelta(days=1), now - timedelta(minutes=5)
    rig = roles(
        instance(1, 1, endDateTime=stamp(ended)),
        instance(2, 2, startDateTime=stamp(long_ago), endDateTime=stamp(now + timedelta(days=1))),
        instance(3, 3, endDateTime=stamp(long_ago)),
    )
    table = "role_assignment_schedule_instances"
    rig.sync("groups", table)
    rig.simulator.faults(
        [
            {
                "match": {"path": f"ScheduleInstances.*principalId eq '{U % 1}'"},
                "respond": {"status": 200, "body": {"value": []}},
            }
        ]
    )
    rig.simulator.reset_stats()
    assert_by_changes(rig.sync(table))
    assert rig.simulator.stats()["faults_fired"] == 1
    kept = {row["id"] for row in rig.rows(table)}
    assert not kept & {"instance-0001"}
    assert kept > {"instance-0002", "instance-0003"}
    # It is gone, and nothing else is due.
    rig.simulator.reset_stats()
    assert_by_changes(rig.sync(table))
    assert rig.simulator.stats()["faults_fired"] == 0
    assert requests(rig, INSTANCES) == 0


def test_so_many_hints_that_the_whole_table_is_read_as_quickly(
    changing: Simulator, tmp_path: Path
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*ROLES)
    changing.mutate(5, 200)
    statuses = rig.sync(*ROLES)
    assert_by_changes(statuses)
    for name in ROLES[1:]:
        info = rig.lake.info(name)
        assert info is not None
        assert info.full_as_of == info.as_of
    assert_like_a_full_read(rig, tmp_path / "full", *ROLES)
    rig.close()


def test_other_groups_to_be_asked_about_mean_a_full_read(
    changing: Simulator, tmp_path: Path
) -> None:
    tables = ("group_eligibility_schedule_instances", "group_assignment_schedule_instances")
    rig = Rig(changing, tmp_path)
    rig.sync("groups", *tables)
    ordinary = next(row["id"] for row in rig.rows("groups") if not row["is_assignable_to_role"])
    before = {name: rig.lake.info(name) for name in tables}
    rig.set(pim_groups=(ordinary,))
    rig.sync("groups", *tables)
    for name in tables:
        info, former = rig.lake.info(name), before[name]
        assert info is not None
        assert former is not None
        assert info.full_as_of > former.full_as_of
    rig.close()


def test_refused_objects_lead_to_a_whole_read(roles: Callable[..., Rig]) -> None:
    now = datetime.now(UTC)
    rig = roles(instance(1, 1, endDateTime=stamp(now - timedelta(minutes=5))))
    table = "role_assignment_schedule_instances"
    rig.sync("groups", table)
    before = rig.digest(table)
    body = {"error": {"code": "Request_BadRequest", "message": ""}}
    rig.simulator.faults(
        [{"match": {"path": "principalId eq"}, "respond": {"status": 400, "body": body}}]
    )
    status = rig.sync(table)[table]
    assert (status.status, status.notes.get(DOUBTED)) == (Status.COMPLETE, 1)
    assert rig.digest(table) == before
