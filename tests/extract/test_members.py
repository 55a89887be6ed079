"""Members of groups: few round trips, nothing lost, counts compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entra_pipeline.extract.notes import REREAD, RESTARTED, VANISHED
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import Status
from tests.extract.support import Rig

U = "22222222-2222-4222-8222-%012d"
G = "33333333-3333-4333-8333-%012d"
S = "44444444-4444-4444-8444-%012d"


def users(count: int, **more: object) -> list[dict[str, object]]:
    return [{"id": U % n, "displayName": f"User {n}", **more} for n in range(count)]


def groups(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": G % n,
            "displayName": f"Group {n}",
            "groupTypes": [],
            "mailEnabled": False,
            "securityEnabled": True,
        }
        for n in range(count)
    ]


def principals(count: int) -> list[dict[str, object]]:
    return [
        {"id": S % n, "appId": S % (n + 1000), "servicePrincipalType": "Application"}
        for n in range(count)
    ]


def pairs(rig: Rig) -> set[tuple[str, str]]:
    return {(row["group_id"], row["member_id"]) for row in rig.rows("group_members")}


def truth(rig: Rig) -> set[tuple[str, str]]:
    links = rig.simulator.truth("group_members")
    return {(group, member) for group, members in links.items() for member in members}


def check_bound(simulator: Simulator, rig: Rig) -> None:
    members = simulator.truth("group_members")
    sizes = [len(members.get(group["id"], ())) for group in simulator.truth("groups")]
    list_pages = -(-len(sizes) // 999)
    reads = sum(-(-size // 999) for size in sizes if size >= 20)
    statuses = rig.sync("users", "groups", "group_members")
    spent = statuses["group_members"].round_trips + statuses["groups"].round_trips
    # Two compare with Graph's counts, of groups and of service principals; two take the links
    # from which the changes of both can be followed.
    assert spent - 4 <= 1.1 * (list_pages + reads / 20), (spent, list_pages, reads)
    assert pairs(rig) == truth(rig)


@pytest.fixture(scope="module")
def many_groups() -> Iterator[Simulator]:
    with running(users=2500, groups=1900, seed=5) as simulator:
        yield simulator


def test_memberships_cost_few_round_trips(many_groups: Simulator, tmp_path: Path) -> None:
    rig = Rig(many_groups, tmp_path)
    check_bound(many_groups, rig)
    rig.close()


@pytest.mark.soak
@pytest.mark.parametrize(("people", "count"), [(10_000, 3_000), (100_000, 30_000)])
def test_memberships_of_large_tenants_cost_few_round_trips(
    people: int, count: int, tmp_path: Path
) -> None:
    with running(users=people, groups=count, seed=7) as simulator:
        rig = Rig(simulator, tmp_path)
        check_bound(simulator, rig)
        rig.close()


def test_groups_around_the_limit_of_expand_are_whole(golden: Callable[..., Rig]) -> None:
    sizes = [0, 1, 19, 20, 21, 40]
    rig = golden(
        users=users(40),
        groups=groups(len(sizes)),
        group_members={G % n: [U % m for m in range(size)] for n, size in enumerate(sizes)},
    )
    assert rig.sync("group_members")["group_members"].status is Status.COMPLETE
    assert pairs(rig) == truth(rig)
    # Groups of 20 and more were read, the others were settled by the listing.
    assert rig.simulator.stats()["by_route"]["GET /groups/{id}/members"] == 3


def test_service_principals_hidden_among_many_members_are_found(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=users(30),
        groups=groups(25),
        service_principals=principals(3),
        group_members={
            # Behind the limit of $expand, and left out by the group's own list.
            G % 0: [*(U % m for m in range(30)), S % 0, S % 1],
            # One principal in more groups than $expand shows of it.
            **{G % n: [*(U % m for m in range(22)), S % 2] for n in range(1, 25)},
        },
    )
    status = rig.sync("group_members")["group_members"]
    assert (status.status, status.reason) == (Status.COMPLETE, None)
    assert pairs(rig) == truth(rig)
    kinds = {row["member_id"]: row["member_kind"] for row in rig.rows("group_members")}
    assert kinds[S % 0] == kinds[S % 2] == "service_principal"


def test_service_principals_that_may_not_be_listed_make_the_table_partial(
    undisturbed: Simulator, tmp_path: Path
) -> None:
    rig = Rig(undisturbed, tmp_path)
    denied = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient"}}
    undisturbed.faults(
        [{"match": {"path": r"/servicePrincipals\?"}, "respond": {"status": 403, "body": denied}}]
    )
    status = rig.sync("group_members")["group_members"]
    rig.close()
    assert (status.status, status.permission) == (Status.PARTIAL, "Application.Read.All")
    assert "Authorization_RequestDenied" in (status.reason or "")
    found, whole = pairs(rig), truth(rig)
    known = {user["id"] for user in undisturbed.truth("users")}
    assert {pair for pair in whole if pair[1] in known} <= found < whole


def test_hidden_memberships_without_the_permission_are_not_called_empty(
    golden: Callable[..., Rig],
) -> None:
    hidden = {**groups(1)[0], "visibility": "HiddenMembership"}
    rig = golden(
        users=users(3),
        groups=[hidden, groups(2)[1]],
        group_members={G % 0: [U % 0], G % 1: [U % 1]},
        without_permission=["Member.Read.Hidden"],
    )
    status = rig.sync("group_members")["group_members"]
    assert (status.status, status.permission) == (Status.PARTIAL, "Member.Read.Hidden")
    assert pairs(rig) == {(G % 1, U % 1)}


def test_a_group_that_vanished_after_the_listing_is_left_out_and_counted(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=users(25),
        groups=groups(3),
        group_members={G % n: [U % m for m in range(25)] for n in range(3)},
    )
    gone = {"error": {"code": "Request_ResourceNotFound", "message": "does not exist"}}
    rig.simulator.faults(
        [
            {
                "match": {"path": f"/groups/{G % 1}/members"},
                "respond": {"status": 404, "body": gone},
            }
        ]
    )
    status = rig.sync("group_members")["group_members"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {VANISHED: 1})
    assert {group for group, _ in pairs(rig)} == {G % 0, G % 2}


def test_a_page_token_that_expires_inside_a_batch_begins_only_that_group_again(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=users(2100),
        groups=groups(3),
        group_members={G % 0: [U % m for m in range(2100)], G % 1: [U % m for m in range(30)]},
    )
    expired = {"error": {"code": "Directory_ExpiredPageToken", "message": "expired"}}
    rig.simulator.faults(
        [
            {
                "match": {"path": r"/members\?.*skiptoken", "nth": 2},
                "respond": {"status": 400, "body": expired},
            }
        ]
    )
    status = rig.sync("group_members")["group_members"]
    assert rig.simulator.stats()["faults_fired"] == 1
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {RESTARTED: 1})
    assert pairs(rig) == truth(rig)


def drop_members(times: int) -> list[dict[str, object]]:
    """The group's list loses its first member, and Graph's count does not."""
    return [
        {
            "match": {"path": f"/groups/{G % 0}/members", "times": times},
            "patch": [{"op": "remove", "path": "/value/0"}],
        }
    ]


def test_a_list_shorter_than_graphs_count_is_read_again(golden: Callable[..., Rig]) -> None:
    rig = golden(
        users=users(30), groups=groups(2), group_members={G % 0: [U % m for m in range(30)]}
    )
    rig.simulator.faults(drop_members(1))
    status = rig.sync("group_members")["group_members"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {REREAD: 1})
    assert pairs(rig) == truth(rig)


def test_a_list_that_stays_shorter_than_graphs_count_is_not_published(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=users(30), groups=groups(2), group_members={G % 0: [U % m for m in range(30)]}
    )
    before = rig.sync("group_members")["group_members"]
    rig.simulator.faults(drop_members(9))
    status = rig.sync("group_members", full=True)["group_members"]
    assert status.status is Status.PARTIAL
    assert "29 of 30" in (status.reason or "")
    assert (status.version, status.rows) == (before.version, 30)
    assert pairs(rig) == truth(rig)


def test_the_sizes_of_the_last_sync_say_which_groups_to_begin_with(
    many_groups: Simulator, tmp_path: Path
) -> None:
    rig = Rig(many_groups, tmp_path)
    first = rig.sync("users", "groups", "group_members")["group_members"]
    second = rig.sync("users", "groups", "group_members", full=True)["group_members"]
    rig.close()
    assert second.status is Status.COMPLETE
    assert second.round_trips <= first.round_trips
