"""What one principal could reach then, from few rows: to the byte what the whole warehouse says."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from entra_pipeline import tables
from entra_pipeline.access import past
from entra_pipeline.access.answers import NotFound
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.tables import Status
from tests.access.activity import DAY, Activity
from tests.access.tenant import ZERO, Tenant

START = datetime(2026, 11, 2, 6, tzinfo=UTC)
GONE = "99999999-9999-4999-8999-999999999999"
NEVER = "88888888-8888-4888-8888-888888888888"


def awkward() -> Tenant:
    """Something of everything that access rests on, with what makes names and paths hard."""
    tenant = Tenant().users("ann", "ben", "cy", "dora", "eve", "finn", GONE[:-1] + "8")
    tenant.add("users", id="gus", display_name="Gus", user_type="Guest", mail="gus@else.example")
    tenant.groups("all", "inner", "middle", "outer", "ring1", "ring2", "ring3", "licensed", "mine")
    tenant.groups("assignable", is_assignable_to_role=True)
    tenant.add("groups", id="twin", display_name="User ann", mail="twin@contoso.example")
    tenant.add("contacts", id="con", mail="con@else.example")
    tenant.add("devices", id="pad", display_name="Pad", account_enabled=True)
    tenant.members("all", "ann", "ben", "cy", "dora", "eve", "pad", "con", "web")
    tenant.members("inner", "ann", "gus").members("middle", "inner", "ben")
    tenant.members("outer", "middle", "inner").members("ring1", "cy", "ring3")
    tenant.members("ring2", "ring1").members("ring3", "ring2", "outer").members("licensed", "all")
    tenant.eligible_member("assignable", "dora").eligible_member("assignable", "ann")
    tenant.eligible_member("assignable", "eve", access_id="owner")
    tenant.role("reader", "outer", "ann").role("reader", "ben", scope="/administrativeUnits/unit")
    tenant.role("reader", "ben", scope="/lost").role("admin", "assignable")
    tenant.eligible_role("admin", "eve").eligible_role("admin", "ring2")
    tenant.app("web", required=False).app("api").app("robot", kind="ManagedIdentity")
    tenant.app_role("api", "use", "ann", "inner", "ring1").app_role("api", ZERO, "outer")
    tenant.app_role("api", "call", "web", "robot", to=("Application",)).app_role(
        "nowhere", "x", "cy"
    )
    tenant.add("applications", id="registered", app_id="client-of-web", display_name="Web")
    for table, thing, owners in (
        ("group_owners", "mine", ("ann", "web")),
        ("service_principal_owners", "api", ("ann", "web", "robot")),
        ("application_owners", "registered", ("ann", "finn")),
        ("device_owners", "pad", ("ann", "gus")),
    ):
        column = tables.get(table).key[0]
        for owner in owners:
            tenant.add(table, **{column: thing, "owner_id": owner})
    tenant.add("administrative_units", id="unit", display_name="Unit")
    for member in ("ann", "inner", "pad"):
        tenant.add("administrative_unit_members", unit_id="unit", member_id=member)
    for consent, user in (("AllPrincipals", None), ("Principal", "ann")):
        tenant.add(
            "oauth2_permission_grants",
            id=f"consent-{consent}",
            client_id="web",
            resource_id="api",
            consent_type=consent,
            principal_id=user,
            scopes=["read", "write"],
        )
    tenant.add("delegated_permissions", resource_id="api", id="d1", value="read", tier=1)
    tenant.add("subscribed_skus", sku_id="sku", sku_part_number="SKU")
    for user, group, state in (
        ("ann", "", "Active"),
        ("ben", "licensed", "Active"),
        ("cy", "licensed", "Error"),
        ("dora", "all", "Active"),
    ):
        tenant.add(
            "license_assignments", user_id=user, sku_id="sku", source_group_id=group, state=state
        )
    tenant.add("user_sign_in_activity", user_id="ann", last_sign_in_date_time=START - DAY)
    tenant.add("user_sign_in_activity", user_id="ben")
    # Rows of which Graph did not say everything.
    tenant.add("app_role_assignments", id="of-nothing", principal_id="ann")
    tenant.eligible_member("assignable", "cy", group_id=None, id="in-nothing")
    # Gone, but still named by others.
    tenant.members("inner", GONE).members(NEVER, "finn").role("reader", GONE)
    tenant.add("deleted_items", id=GONE, kind="user", display_name="Old Finn")
    tenant.add("deleted_items", id="lost", kind="group", display_name="Lost unit")
    return tenant.unread("devices", Status.FORBIDDEN, "no permission")


def changed(tenant: Tenant, seed: int) -> Tenant:
    """The same some days later: many rows are gone, renamed or new."""
    chosen = random.Random(seed)
    later = copy.deepcopy(tenant)
    for name, rows in later.rows.items():
        columns = {column.name for column in tables.get(name).columns}
        rows[:] = [row for row in rows if chosen.random() < 0.7]
        for row in rows:
            if "display_name" in columns and chosen.random() < 0.5:
                row["display_name"] = f"New {row.get('id')}"
    later.users("hal").members("inner", "hal").members("middle", "eve").members("mine", "outer")
    return later


def used(lake: Path) -> None:
    """Events of some of them, read whole."""
    activity = Activity(lake)
    for user in ("ann", "cy", "eve"):
        activity.sign_in(user, "client-of-api", START - 3 * DAY)
        activity.sign_in(user, "client-of-web", START - 50 * DAY)
    activity.audit("eve", START - DAY).activation("eve", "admin", START - 2 * DAY)
    activity.read((START - 100 * DAY, START))


class Told:
    """A data directory in which three states were committed, and questions to its past."""

    def __init__(self, home: Path, states: list[Tenant]) -> None:
        self.directory = DataDirectory.claim(home, "tenant")
        self.syncs: list[str] = []
        lake = Lake(self.directory.lake)
        used(self.directory.lake)
        clock = START
        books = Books(self.directory, now=lambda: clock)
        for number, state in enumerate(states):
            clock = START + timedelta(days=number)
            sync_id = books.begin_sync("sync", sorted(state.rows))
            for name, status in state.statuses.items():
                version = None
                if name in states[0].rows:
                    table = tables.get(name)
                    rows = pa.Table.from_pylist(state.rows.get(name, []), table.schema())
                    commit = lake.commit(table, rows, sync_id=sync_id, as_of=clock)
                    version = commit.version
                books.record(sync_id, replace(status, as_of=clock, version=version))
            clock += timedelta(minutes=10)
            books.finish_sync(sync_id, "succeeded")
            self.syncs.append(sync_id)

    def moment(self, number: int) -> past.Moment:
        return past.after(Books(self.directory), self.syncs[number])

    def whole(self, number: int) -> Path:
        """The whole warehouse, built and put where it does not count as kept."""
        built = past.warehouse(self.directory, self.moment(number))
        return built.rename(self.directory.path / f"whole-{number}.duckdb")


def document(warehouse: Warehouse, text: str) -> str:
    found = warehouse.find_principal(text)
    if isinstance(found, NotFound):
        return json.dumps(found.to_json())
    answers = [warehouse.access(found), warehouse.access(found, unused=30, limit=2)]
    return json.dumps([answer.to_json() for answer in answers])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    first = awkward()
    return Told(
        tmp_path_factory.mktemp("told") / "data", [first, changed(first, 1), changed(first, 2)]
    )


def compare(told: Told, number: int, texts: list[str]) -> dict[str, bool]:
    """Asks both ways; for each text whether few rows were enough."""
    few = {}
    with Warehouse.open(told.whole(number)) as whole:
        for text in texts:
            with past.access(told.directory, told.moment(number), text) as warehouse:
                few[text] = warehouse is not None
                if warehouse is not None:
                    assert document(warehouse, text) == document(whole, text), text
    return few


def test_every_kind_of_principal_is_answered_from_few_rows_as_from_the_whole(told: Told) -> None:
    texts = ["ann", "ben", "cy", "dora", "eve", "gus", "con", "web", "inner", "ring1", GONE, NEVER]
    few = compare(told, 0, texts)
    with past.access(told.directory, told.moment(0), "eve") as warehouse:
        assert warehouse is not None
        told_of = json.loads(document(warehouse, "eve"))[0]["entitlements"]
    assert {row["used"] for row in told_of} == {"used", "unknown"}
    # What limits one of ben's roles is gone, and its name hangs on whether others still name it.
    assert [text for text in texts if not few[text]] == ["ben"]


def test_names_that_mean_one_several_or_nobody_do_so_from_few_rows(told: Told) -> None:
    texts = [
        "ANN@contoso.example",
        "App web",
        "client-of-api",
        "User ann",
        "user nan",
        "No'{thing}",
    ]
    few = compare(told, 1, [*texts, "GUS", "Old Finn", "All users"])
    assert all(few[text] for text in texts)
    assert not few["Old Finn"], "who is gone may still hold something"
    assert not few["All users"]


def test_the_latest_state_is_asked_without_undoing_anything(told: Told) -> None:
    assert all(compare(told, 2, ["hal", "middle"]).values())


def test_nothing_is_left_behind_and_a_kept_warehouse_is_not_made_again(told: Told) -> None:
    folder = told.directory.path / "past"
    with past.access(told.directory, told.moment(1), "ann") as warehouse:
        assert warehouse is not None
    assert list(folder.iterdir()) == []
    past.warehouse(told.directory, told.moment(1))
    with past.access(told.directory, told.moment(1), "ann") as warehouse:
        assert warehouse is None


def test_before_the_history_the_error_is_that_of_the_whole(told: Told) -> None:
    moment = told.moment(0)
    early = past.Moment(
        moment.asked,
        replace(moment.sync, sync_id=moment.sync.sync_id + "-moved", finished=START - timedelta(1)),
    )
    with (
        pytest.raises(past.PastError, match="does not reach back"),
        past.access(told.directory, early, "ann"),
    ):
        pass
