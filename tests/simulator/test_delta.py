"""Delta rounds: complete at first, then exactly what changed, and mortal links."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.simulator.conftest import Client

DAY = 86400


def walk(client: Client, link: str) -> tuple[list[dict[str, Any]], str, int]:
    """Rows, the delta link and the number of pages of one round."""
    rows: list[dict[str, Any]] = []
    pages = 0
    while True:
        answer = client.get(link)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages += 1
        rows += page["value"]
        assert ("@odata.nextLink" in page) != ("@odata.deltaLink" in page)
        if "@odata.deltaLink" in page:
            return rows, page["@odata.deltaLink"], pages
        link = page["@odata.nextLink"]


def links_of(rows: list[dict[str, Any]], name: str = "members") -> dict[str, set[str]]:
    """What a client that merges slices believes, the last event winning."""
    held: dict[str, set[str]] = {}
    for row in rows:
        if "@removed" in row:
            held.pop(row["id"], None)
            continue
        members = held.setdefault(row["id"], set())
        for member in row.get(f"{name}@delta", []):
            if "@removed" in member:
                members.discard(member["id"])
            else:
                members.add(member["id"])
    return held


@pytest.fixture
def changing() -> Iterator[Simulator]:
    with running(users=120, groups=60, seed=11) as simulator:
        yield simulator


@pytest.mark.parametrize(
    ("path", "collection"),
    [
        ("/users/delta", "users"),
        ("/users/delta()", "users"),
        ("/users/microsoft.graph.delta()", "users"),
        ("/groups/delta", "groups"),
        ("/applications/delta", "applications"),
        ("/servicePrincipals/delta", "service_principals"),
        ("/devices/delta", "devices"),
        ("/directory/administrativeUnits/delta", "administrative_units"),
        ("/contacts/delta", "contacts"),
        ("/oauth2PermissionGrants/delta", "oauth2_permission_grants"),
    ],
)
def test_the_first_round_holds_everything(generated: Client, path: str, collection: str) -> None:
    rows, link, _ = walk(generated, path)
    alive = {row["id"] for row in rows if "@removed" not in row}
    assert alive == {row["id"] for row in generated.simulator.truth(collection)}
    assert walk(generated, link)[0] == []


def test_the_first_round_names_the_deleted(generated: Client) -> None:
    rows, _, _ = walk(generated, "/users/delta")
    removed = {row["id"]: row["@removed"]["reason"] for row in rows if "@removed" in row}
    deleted = [
        row["id"]
        for row in generated.simulator.truth("deleted_items")
        if row["@odata.type"] == "#microsoft.graph.user"
    ]
    assert deleted
    assert removed == dict.fromkeys(deleted, "changed")


def test_large_groups_come_in_slices_on_other_pages() -> None:
    with running(users=1500, groups=100, seed=5) as simulator:
        client = Client(simulator)
        rows, _, pages = walk(client, "/groups/delta?$select=id,members,owners")
        truth = simulator.truth("group_members")
        owners = simulator.truth("group_owners")
    assert pages > 1
    ids = [row["id"] for row in rows]
    sliced = {each for each in ids if ids.count(each) > 1}
    assert sliced
    for each in sliced:
        places = [place for place, row_id in enumerate(ids) if row_id == each]
        assert places[1] - places[0] > 1
    held = links_of(rows)
    assert {group for group, members in held.items() if members} == {
        group for group, members in truth.items() if members
    }
    assert all(held[group] == set(members) for group, members in truth.items())
    by_owner = links_of(rows, "owners")
    assert all(by_owner[group] == set(each) for group, each in owners.items())


def test_latest_begins_with_nothing_and_then_sees_changes(changing: Simulator) -> None:
    client = Client(changing)
    rows, link, _ = walk(client, "/users/delta?$deltatoken=latest&$select=displayName")
    assert rows == []
    changing.mutate(seed=1, changes=300)
    before = {row["id"] for row in changing.truth("users")}
    rows, link, _ = walk(client, link)
    assert rows
    assert {row["id"] for row in rows if "@removed" not in row} <= before
    assert walk(client, link)[0] == []


def test_following_delta_links_keeps_a_copy_true(changing: Simulator) -> None:
    client = Client(changing)
    rows, link, _ = walk(client, "/groups/delta?$select=id,displayName,members")
    users, user_link, _ = walk(client, "/users/delta?$select=id,displayName")
    names = {row["id"]: row["displayName"] for row in rows if "@removed" not in row}
    people = {row["id"]: row["displayName"] for row in users if "@removed" not in row}
    members = links_of(rows)
    hard_removed: set[str] = set()
    for seed in range(6):
        changing.mutate(seed=seed, changes=60)
        rows, link, _ = walk(client, link)
        for row in rows:
            if "@removed" in row:
                names.pop(row["id"], None)
                members.pop(row["id"], None)
                continue
            names[row["id"]] = row["displayName"]
            held = members.setdefault(row["id"], set())
            for member in row.get("members@delta", []):
                if "@removed" in member:
                    assert member["@removed"] == {"reason": "deleted"}
                    held.discard(member["id"])
                else:
                    held.add(member["id"])
        rows, user_link, _ = walk(client, user_link)
        for row in rows:
            if "@removed" in row:
                people.pop(row["id"], None)
                if row["@removed"]["reason"] == "deleted":
                    hard_removed.add(row["id"])
            else:
                people[row["id"]] = row["displayName"]
    assert names == {row["id"]: row["displayName"] for row in changing.truth("groups")}
    assert people == {row["id"]: row["displayName"] for row in changing.truth("users")}
    truth = changing.truth("group_members")
    binned = {row["id"] for row in changing.truth("deleted_items")}
    # Soft deletion emits no removals: the copy still holds members that lie in the bin.
    assert {group: held - binned for group, held in members.items() if held - binned} == {
        group: set(each) for group, each in truth.items() if each
    }


def test_only_changes_of_what_was_selected_surface(changing: Simulator) -> None:
    client = Client(changing)
    _, narrow, _ = walk(client, "/users/delta?$select=faxNumber&$deltatoken=latest")
    _, wide, _ = walk(
        client,
        "/users/delta?$deltatoken=latest&$select=id,displayName,accountEnabled,department,jobTitle",
    )
    changes = changing.mutate(seed=3, changes=200)
    patched = {
        change["ids"][0]
        for change in changes
        if change["op"] == "patch" and change["target"] == "users"
    }
    assert patched
    seen = {row["id"] for row in walk(client, narrow)[0] if "@removed" not in row}
    created = {change["ids"][0] for change in changes if change["op"] in ("put", "restore")}
    assert seen <= created
    assert {row["id"] for row in walk(client, wide)[0]} & patched


def test_minimal_answers_hold_what_changed(changing: Simulator) -> None:
    client = Client(changing)
    _, link, _ = walk(
        client,
        "/users/delta?$deltatoken=latest&$select=id,displayName,jobTitle,"
        "department,accountEnabled,companyName",
    )
    changing.mutate(seed=5, changes=150)
    full = {row["id"]: row for row in client.get(link).json()["value"]}
    minimal = client.get(link, {"Prefer": "return=minimal"}).json()["value"]
    assert any(len(row) < len(full[row["id"]]) for row in minimal)


def test_directory_roles_report_their_members(changing: Simulator) -> None:
    client = Client(changing)
    rows, link, _ = walk(client, "/directoryRoles/delta")
    held = links_of(rows)
    reported = 0
    for seed in range(6):
        for role in client.rows("/directoryRoles"):
            members = set(client.ids(f"/directoryRoles/{role['id']}/members"))
            assert held.get(role["id"], set()) == members
        changing.mutate(seed=seed, changes=200)
        rows, link, _ = walk(client, link)
        for row in rows:
            for member in row.get("members@delta", []):
                reported += 1
                members = held.setdefault(row["id"], set())
                (members.discard if "@removed" in member else members.add)(member["id"])
    assert reported


def test_a_link_lives_seven_days(changing: Simulator) -> None:
    _, link, _ = walk(Client(changing), "/groups/delta?$deltatoken=latest")
    changing.advance(7 * DAY - 60)
    assert Client(changing).get(link).status_code == 200
    changing.advance(120)
    assert Client(changing).refusal(link) == (400, "syncStateNotFound")


def test_a_link_outlives_a_restart_of_an_unchanged_tenant() -> None:
    with running(users=20, groups=5, seed=9) as simulator:
        _, link, _ = walk(Client(simulator), "/users/delta?$deltatoken=latest")
        base = Client(simulator).base
        simulator.mutate(seed=1, changes=5)
        _, later, _ = walk(Client(simulator), "/users/delta?$deltatoken=latest")
    with running(users=20, groups=5, seed=9) as simulator:
        client = Client(simulator)
        assert walk(client, link.replace(base, client.base))[0] == []
        assert client.refusal(later.replace(base, client.base))[1] == "syncStateNotFound"


def test_links_given_out_expire_on_demand_and_new_ones_live(changing: Simulator) -> None:
    client = Client(changing)
    _, old, _ = walk(client, "/users/delta?$deltatoken=latest&$select=id")
    changing.end_deltas("expire")
    assert client.refusal(old) == (400, "syncStateNotFound")
    _, new, _ = walk(client, "/users/delta?$deltatoken=latest&$select=id")
    assert walk(client, new)[0] == []
    assert client.refusal(old) == (400, "syncStateNotFound")


def test_links_given_out_are_reset_on_demand_for_chosen_sets(changing: Simulator) -> None:
    client = Client(changing)
    _, users, _ = walk(client, "/users/delta?$deltatoken=latest&$select=id")
    _, groups, _ = walk(client, "/groups/delta?$deltatoken=latest&$select=id")
    changing.end_deltas("reset", ["users"])
    answer = client.get(users)
    assert answer.status_code == 410
    assert answer.json()["error"]["code"] == "resyncRequired"
    assert answer.headers["Location"] == f"{client.base}/v1.0/users/delta?$deltatoken="
    rows, fresh, _ = walk(client, answer.headers["Location"])
    alive = {row["id"] for row in rows if "@removed" not in row}
    assert alive == {row["id"] for row in changing.truth("users")}
    assert client.get(fresh).status_code == 200
    assert client.get(groups).status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"expire": True, "reset": True}, {"expire": True, "paths": ["nope"]}, {"x": 1}]
)
def test_a_request_to_end_links_says_how_and_which(changing: Simulator, body: Any) -> None:
    url = f"{changing.info.http_graph_url}/_sim/delta"
    answer = Client(changing).session.post(url, json=body, timeout=30)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_members_come_in_slices_that_add_up() -> None:
    with running(users=120, groups=30, seed=6, delta_page=7, delta_slice=5) as simulator:
        client = Client(simulator)
        rows, link, pages = walk(client, "/groups/delta?$select=id,members")
        assert pages > 5
        times: dict[str, int] = {}
        for row in rows:
            times[row["id"]] = times.get(row["id"], 0) + ("@removed" not in row)
            assert len(row.get("members@delta", [])) <= 5
        assert max(times.values()) > 3
        held = links_of(rows)
        simulator.mutate(seed=2, changes=150)
        rows, _, _ = walk(client, link)
        for row in rows:
            if "@removed" in row:
                held.pop(row["id"], None)
                continue
            members = held.setdefault(row["id"], set())
            for member in row.get("members@delta", []):
                (members.discard if "@removed" in member else members.add)(member["id"])
        binned = {row["id"] for row in simulator.truth("deleted_items")}
        truth = {group: set(each) for group, each in simulator.truth("group_members").items()}
        assert {g: m - binned for g, m in held.items() if m - binned} == truth


def test_replayed_changes_come_again_and_change_nothing() -> None:
    with running(users=80, groups=40, seed=6, delta_replays=60) as simulator:
        client = Client(simulator)
        rows, link, _ = walk(client, "/groups/delta?$select=id,displayName,members")
        held = links_of(rows)
        replayed = 0
        for seed in range(4):
            simulator.mutate(seed=seed, changes=40)
            rows, link, _ = walk(client, link)
            again, _, _ = walk(client, link)
            replayed += len(again)
            for row in (*rows, *again):
                if "@removed" in row:
                    held.pop(row["id"], None)
                    continue
                members = held.setdefault(row["id"], set())
                for member in row.get("members@delta", []):
                    (members.discard if "@removed" in member else members.add)(member["id"])
            binned = {row["id"] for row in simulator.truth("deleted_items")}
            truth = {group: set(each) for group, each in simulator.truth("group_members").items()}
            assert {g: m - binned for g, m in held.items() if m - binned} == truth
        assert replayed


def test_an_object_that_came_back_is_told_again_with_what_it_lost_since() -> None:
    with running(users=40, groups=25, seed=2, delta_replays=200) as simulator:
        client = Client(simulator)
        rows, link, _ = walk(client, "/groups/delta?$select=id,members")
        held = links_of(rows)
        restored = 0
        for seed in range(60):
            changes = simulator.mutate(seed=seed, changes=15)
            restored += sum((c["op"], c["target"]) == ("restore", "groups") for c in changes)
            rows, link, _ = walk(client, link)
            for row in rows:
                if "@removed" in row:
                    held.pop(row["id"], None)
                    continue
                members = held.setdefault(row["id"], set())
                for member in row.get("members@delta", []):
                    (members.discard if "@removed" in member else members.add)(member["id"])
            binned = {row["id"] for row in simulator.truth("deleted_items")}
            truth = {group: set(each) for group, each in simulator.truth("group_members").items()}
            assert {g: m - binned for g, m in held.items() if m - binned} == truth, seed
        assert restored


def test_a_forced_reset_points_to_a_fresh_start(changing: Simulator) -> None:
    client = Client(changing)
    _, link, _ = walk(client, "/users/delta?$deltatoken=latest")
    changing.faults(
        [
            {
                "match": {"path": "users/delta.*deltatoken=.", "times": 1},
                "respond": {
                    "status": 410,
                    "headers": {"Location": "{base}/v1.0/users/delta?$deltatoken="},
                    "body": {"error": {"code": "resyncRequired", "message": "Resync."}},
                },
            }
        ]
    )
    answer = client.get(link)
    assert answer.status_code == 410
    assert answer.headers["Location"] == f"{client.base}/v1.0/users/delta?$deltatoken="
    rows, _, _ = walk(client, answer.headers["Location"])
    alive = {row["id"] for row in rows if "@removed" not in row}
    assert alive == {row["id"] for row in changing.truth("users")}


def test_fifty_ids_may_be_filtered(generated: Client) -> None:
    ids = random.Random(1).sample([row["id"] for row in generated.simulator.truth("users")], 50)
    clause = " or ".join(f"id eq '{each}'" for each in ids)
    rows, _, _ = walk(generated, f"/users/delta?$filter={clause}&$select=id")
    assert {row["id"] for row in rows} == set(ids)
    assert generated.get(f"/users/delta?$filter={clause} or id eq 'x'").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/users/delta?$top=5",
        "/users/delta?$expand=manager",
        "/users/delta?$orderby=displayName",
        "/users/delta?$filter=accountEnabled eq true",
        "/groups/delta?$select=nope",
        "/users/delta?$deltatoken=garbage",
        "/roleManagement/directory/roleAssignments/delta",
        "/subscribedSkus/delta",
    ],
)
def test_what_delta_cannot_do_is_refused(generated: Client, path: str) -> None:
    assert generated.get(path).status_code in (400, 404)


def test_changes_become_visible_after_the_replication_lag() -> None:
    with running(users=40, groups=20, seed=4, replication_lag=600) as simulator:
        client = Client(simulator)
        _, link, _ = walk(client, "/groups/delta?$deltatoken=latest")
        simulator.mutate(seed=1, changes=60)
        rows, link, _ = walk(client, link)
        assert rows == []
        simulator.advance(700)
        assert walk(client, link)[0]
