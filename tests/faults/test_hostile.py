"""Answers that Graph should not give, and tenants at the edges.

Each of these was tried because it might have been believed: a list that repeats one member and
lacks another, a link to somewhere else, a name that gives orders to a terminal.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entra_pipeline.access.answers import NotFound
from entra_pipeline.access.publish import publish
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.extract.notes import DUPLICATES, MISMATCHED, REREAD, RESTARTED
from entra_pipeline.msgraph.documents import mend
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status
from tests.cli.program import cli
from tests.extract.support import Rig
from tests.faults.bench import (
    CROWD,
    TABLES,
    Bench,
    Rule,
    assert_same_rows,
    error,
    on,
    patch,
    respond,
)
from tests.support import sync

CROWD_MEMBERS = f"/groups/{CROWD}/members"
EXPIRED = respond(400, error("Directory_ExpiredPageToken"))
USERS = r"/users\?.*manager"


def raw(text: str, **headers: str) -> Rule:
    """Answer with exactly this text, called JSON."""
    return {
        "respond": {
            "status": 200,
            "headers": {"Content-Type": "application/json", **headers},
            "body": text,
        }
    }


def counted(path: str, number: int) -> Rule:
    return on(rf"{path}/\$count", raw(str(number)))


# ---- lists that are not what they seem ---------------------------------------------------------


def repeating(times: int) -> Rule:
    """The crowd's list shows its sixth member twice and its first not at all."""
    operations = [
        {"op": "copy", "from": "/value/5", "path": "/value/0"},
        {"op": "remove", "path": "/value/1"},
    ]
    return on(CROWD_MEMBERS, {"patch": operations}, times=times)


def test_a_member_listed_twice_does_not_make_up_for_one_that_is_missing(bench: Bench) -> None:
    outcome = bench.sync(repeating(1))
    bench.check(outcome)
    assert dict(outcome.statuses["group_members"].notes) == {DUPLICATES: 1, REREAD: 1}


def test_a_list_that_keeps_repeating_a_member_is_not_published(bench: Bench) -> None:
    told = {"group_members": (Status.PARTIAL, "fewer members than Graph counts")}
    bench.check(bench.sync(repeating(99)), told=told)


def test_a_user_that_moved_between_pages_is_one_row_with_its_later_values(bench: Bench) -> None:
    asked = {"$select": "id,displayName,userPrincipalName", "$top": "999"}
    first = bench.page("/users", **asked)["value"][0]
    again = {**first, "displayName": "Renamed"}
    outcome = bench.sync(on(f"{USERS}.*skiptoken", patch(("add", "/value/0", again)), times=1))
    bench.check(outcome, differs=["users", "license_assignments"])
    users = outcome.objects("users")
    assert users[first["id"]]["display_name"] == "Renamed"
    assert len(users) == outcome.rows("users").num_rows == bench.truth["users"].num_rows
    assert outcome.statuses["users"].notes[DUPLICATES] == 1


def test_a_page_larger_than_was_asked_for_is_taken_whole(bench: Bench) -> None:
    rows = [
        {"id": f"a{n}", "principalId": "p", "roleDefinitionId": "r", "directoryScopeId": "/"}
        for n in range(20_000)
    ]
    outcome = bench.sync(on("/directory/roleAssignments", respond(200, {"value": rows})))
    bench.check(outcome, differs=["role_assignments"])
    assert outcome.rows("role_assignments").num_rows == 20_000


def test_items_that_are_no_objects_are_left_out_and_counted(bench: Bench) -> None:
    strange = patch(*(("add", "/value/0", each) for each in (None, "x", 7, [])))
    outcome = bench.sync(on(r"/contacts\?", strange))
    bench.check(outcome)
    assert dict(outcome.statuses["contacts"].notes) == {MISMATCHED: 4}


def test_lists_of_nulls_inside_objects_still_make_a_warehouse(bench: Bench) -> None:
    def nulls(path: str, *names: str) -> Rule:
        return on(path, patch(*(("add", f"/value/3/{name}", [None]) for name in names)), times=1)

    outcome = bench.sync(
        nulls(USERS, "assignedLicenses", "licenseAssignmentStates", "businessPhones"),
        nulls(r"/groups\?.*members", "assignedLicenses", "groupTypes", "members"),
        nulls(
            r"/servicePrincipals\?.*appRoles",
            "appRoles",
            "oauth2PermissionScopes",
            "passwordCredentials",
            "alternativeNames",
            "owners",
        ),
        about=TABLES,
    )
    assert {s.status for s in outcome.statuses.values()} == {Status.COMPLETE}
    with outcome.answers() as answers:
        nameless = (
            "SELECT count(*) FROM grants WHERE entitlement_id IS NULL OR principal_id IS NULL"
        )
        assert answers.warehouse.query(nameless).rows[0][0] == 0
        assert answers.who("Global Administrator")


BESIDE = {
    "group_owners": r"/groups\?.*owners",
    "app_role_assignments": r"/servicePrincipals\?.*appRoleAssignedTo",
    "credentials": r"/applications\?.*federatedIdentityCredentials",
    "group_members": r"/servicePrincipals\?.*memberOf",
}


@pytest.mark.parametrize("table", list(BESIDE))
def test_a_list_that_is_read_for_what_hangs_on_it_is_counted_too(bench: Bench, table: str) -> None:
    short = patch(("remove", "/value/3"))
    outcome = bench.sync(on(BESIDE[table], short, nth=1), about=[table])
    bench.check(outcome)
    assert dict(outcome.statuses[table].notes) == {REREAD: 1}
    outcome = bench.sync(on(BESIDE[table], short), about=[table])
    bench.check(outcome, told={table: (Status.PARTIAL, "read twice, but Graph counts")})


def test_more_objects_than_graph_counts_are_no_loss(bench: Bench) -> None:
    """Counts come from an index that lags behind the directory."""
    outcome = bench.sync(counted("/users", 1000))
    bench.check(outcome)
    assert dict(outcome.statuses["users"].notes) == {}


def test_a_count_beyond_all_reason_is_not_believed_for_ever(bench: Bench) -> None:
    absurd = on(CROWD_MEMBERS, patch(("add", "/@odata.count", 10**12)))
    bench.check(bench.sync(absurd), told={"group_members": (Status.PARTIAL, "of 1000000000000")})


def test_groups_that_begin_again_are_asked_for_their_members_once(bench: Bench) -> None:
    listing = r"/groups\?.*members"
    asked = {
        "$select": "id,displayName,groupTypes,mailEnabled,securityEnabled,isAssignableToRole",
        "$expand": "members($select=id)",
        "$top": "999",
    }
    page = bench.page("/groups", **asked)["value"]
    link = "{base}/v1.0/groups?$expand=members&$skiptoken=two"
    first = {"value": page[:30], "@odata.nextLink": link}
    outcome = bench.sync(
        on("/groups.*skiptoken=two", EXPIRED, nth=1),
        on("/groups.*skiptoken=two", respond(200, {"value": page[30:]})),
        on(f"{listing}(?!.*skiptoken)", respond(200, first)),
    )
    bench.check(outcome, differs=["groups"])
    assert dict(outcome.statuses["groups"].notes) == {RESTARTED: 1}
    assert outcome.rows("groups").num_rows == len(page)


# ---- bodies ------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_no_reason_to_fail(bench: Bench) -> None:
    body = json.dumps(bench.page("/roleManagement/directory/roleDefinitions"))
    bench.check(bench.sync(on("/roleDefinitions", raw("\ufeff" + body))))


def test_half_an_emoji_at_the_end_of_a_name_costs_that_character_alone(bench: Bench) -> None:
    contact, *others = bench.page("/contacts")["value"]
    named = {**contact, "displayName": "Cut \U0001f600 off @"}
    body = json.dumps({"value": [named, *others]})
    outcome = bench.sync(on(r"/contacts\?", raw(body.replace("@", "\\ud83d", 1))))
    bench.check(outcome, differs=["contacts"])
    assert outcome.objects("contacts")[contact["id"]]["display_name"] == "Cut \U0001f600 off \ufffd"


@given(st.text(alphabet=st.characters(codec=None), max_size=30))
def test_mending_changes_halves_of_surrogate_pairs_and_nothing_else(text: str) -> None:
    body = json.dumps({"displayName": text}).encode()
    # Read back: two halves side by side are a pair as soon as they are written.
    read = json.loads(body)["displayName"]
    whole = "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in read)
    assert json.loads(mend(body))["displayName"] == whole
    assert mend(b"\xef\xbb\xbf" + body) == mend(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"x":' + "[" * 100_000 + "]" * 100_000 + ',"value":[]}',
        '{"value":[{"id":"' + "x",
        "null",
        "[]",
        '{"value":{}}',
    ],
    ids=["nested without end", "no end", "null", "a bare list", "an object for a list"],
)
def test_a_body_that_makes_no_sense_fails_its_table_alone(bench: Bench, body: str) -> None:
    outcome = bench.sync(on(r"/contacts\?", raw(body)), max_attempts=2)
    bench.check(outcome, told={"contacts": (Status.FAILED, "MalformedAnswer")})


def test_a_body_that_is_not_compressed_as_it_says_is_asked_for_again(bench: Bench) -> None:
    bench.check(bench.sync(on(r"/contacts\?", raw("{}", **{"Content-Encoding": "gzip"}), nth=1)))


# ---- links -------------------------------------------------------------------------------------


@contextmanager
def stranger() -> Iterator[tuple[int, list[bytes]]]:
    """A host that is not Graph: its port, and what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(1)
                    heard.append(connection.recv(4096))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


LISTS = {
    "a list": (r"/contacts\?", "contacts", "/v1.0/contacts?$skiptoken=x"),
    "members": (CROWD_MEMBERS, "group_members", f"/v1.0{CROWD_MEMBERS}?$skiptoken=x"),
}


@pytest.mark.parametrize("name", list(LISTS))
@pytest.mark.parametrize(
    "form", ["http://localhost:{}", "http://user@localhost:{}", "//localhost:{}"]
)
def test_a_next_link_to_another_host_is_not_followed(bench: Bench, name: str, form: str) -> None:
    path, table, rest = LISTS[name]
    with stranger() as (port, heard):
        link = form.format(port) + rest
        outcome = bench.sync(on(path, patch(("add", "/@odata.nextLink", link))), max_attempts=2)
    bench.check(outcome, told={table: (Status.FAILED, "ForeignLink")})
    assert heard == []


def test_a_redirect_to_another_host_is_not_followed(bench: Bench) -> None:
    with stranger() as (port, heard):
        location = f"http://localhost:{port}/v1.0/contacts"
        outcome = bench.sync(on(r"/contacts\?", respond(302, None, Location=location)))
    bench.check(outcome, told={"contacts": (Status.FAILED, "HTTP302")})
    assert heard == []


@pytest.mark.parametrize("prefix", ["/v1.0/", "/", ""])
def test_a_next_link_relative_to_the_host_or_to_the_version_is_followed(
    bench: Bench, prefix: str
) -> None:
    path = "/roleManagement/directory/roleDefinitions"
    rows = bench.page(path)["value"]
    link = f"{prefix}{path[1:]}?$skiptoken=two"
    outcome = bench.sync(
        on(rf"^/v1.0{path}\?.*skiptoken=two", respond(200, {"value": rows[9:]})),
        on(rf"{path}(?!.*skiptoken)", respond(200, {"value": rows[:9], "@odata.nextLink": link})),
    )
    bench.check(outcome)


# ---- tenants at the edges ----------------------------------------------------------------------


def test_one_round_trip_at_a_time_is_enough(bench: Bench) -> None:
    bench.check(bench.sync(about=TABLES, concurrency=1))


def test_every_second_page_empty_costs_no_row(bench: Bench, tenant: Path) -> None:
    with running(tenant=tenant, empty_pages=2) as simulator:
        outcome = bench.sync(simulator=simulator, earlier=False)
        requests = simulator.stats()["by_route"]
    assert requests["GET /users"] >= 3
    for name, status in outcome.statuses.items():
        assert status.status is Status.COMPLETE, status
        assert_same_rows(name, outcome.rows(name), bench.earlier[name])


def test_a_tenant_without_anybody_can_be_read_and_asked(tmp_path: Path) -> None:
    (tmp_path / "tenant").mkdir()
    with running(tenant=tmp_path / "tenant") as simulator:
        synced = sync(simulator, tmp_path / "data")
        assert {str(s.status) for s in synced.statuses.values()} == {"complete"}
        assert synced.statuses["users"].rows == 0
    with Warehouse.open(synced.warehouse) as warehouse:
        found = warehouse.find_principal("anybody@contoso.example")
        assert isinstance(found, NotFound)
        assert found.completeness.complete
        assert warehouse.query("SELECT * FROM effective_grants").rows == []


@pytest.mark.soak
def test_a_group_of_100_000_is_read_one_round_trip_at_a_time(tmp_path: Path) -> None:
    def uid(number: int) -> str:
        return f"22222222-2222-4222-8222-{number:012d}"

    count = 100_000
    directory = tmp_path / "tenant"
    directory.mkdir()
    users = [{"id": uid(n), "displayName": f"User {n}"} for n in range(count)]
    group = {"id": uid(count), "displayName": "Everybody", "securityEnabled": True}
    (directory / "users.json").write_text(json.dumps(users))
    (directory / "groups.json").write_text(json.dumps([group]))
    members = {group["id"]: [user["id"] for user in users]}
    (directory / "group_members.json").write_text(json.dumps(members))
    with running(tenant=directory) as simulator:
        rig = Rig(simulator, tmp_path, concurrency=1)
        status = rig.sync("users", "groups", "group_members")["group_members"]
        rig.close()
    assert (status.status, status.rows) == (Status.COMPLETE, count)
    assert status.round_trips < 120


# ---- names that give orders --------------------------------------------------------------------

ORDERS = "\x1b[2J\x1b]0;owned\x07[red]Eve[/red]\u202e\nuser    Bob    yes    active    direct    1"


def test_names_reach_a_terminal_as_text(bench: Bench) -> None:
    spoiled = patch(
        ("add", "/value/3/displayName", ORDERS),
        ("add", "/value/3/userPrincipalName", "eve@contoso.example"),
    )
    outcome = bench.sync(on(USERS, spoiled, times=1))
    with outcome.answers() as answers:
        stage = answers.warehouse.path
        eve = answers.principal("eve@contoso.example")
    assert eve.name == ORDERS
    publish(stage, outcome.directory)
    data = ("--data-dir", str(outcome.directory.path))
    for command in (
        ("access", eve.id),
        ("explain", eve.id, "Crowd: member"),
        ("query", f"SELECT display_name FROM users WHERE id = '{eve.id}'"),
    ):
        done = cli(*command, *data)
        assert done.code == 0, done.err
        shown = done.out + done.err
        assert "[red]Eve[/red]" in shown
        assert not any(c in shown for c in "\x1b\x07\u202e\r")
        assert not any(line.startswith("user    Bob") for line in shown.splitlines())
    [[said]] = cli(*command, "--json", *data).json["rows"]
    assert said == ORDERS


def test_ids_are_found_in_any_case(bench: Bench) -> None:
    outcome = bench.sync()
    user = bench.truth["users"].to_pylist()[0]["id"]
    with outcome.answers() as answers:
        assert answers.principal(user.upper()).id == user
        entitlement: Any = answers.entitlement(f"group:{CROWD.upper()}:member")
        assert entitlement.entitlement_id == f"group:{CROWD}:member"
