"""What changes of grants are put down to, case by case, and that it is kept once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from entra_pipeline.extract.activity import client_for, read_activity
from entra_pipeline.extract.listening import listen
from entra_pipeline.lake import DataDirectory, Lake
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.feed import Feed
from entra_pipeline.provisioning.drift import findings, keeping
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import LEDGER
from tests.activity.support import FastClock
from tests.extract.support import Rig
from tests.provisioning.tenant import Tenant

READ = (
    "users",
    "groups",
    "group_members",
    "group_owners",
    "service_principals",
    "app_role_assignments",
    "oauth2_permission_grants",
    "license_assignments",
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
)


@pytest.fixture(scope="module")
def changing() -> Iterator[Simulator]:
    with running(users=60, groups=40, seed=31, license="p2") as simulator:
        yield simulator


@pytest.fixture
def tenant(changing: Simulator) -> Tenant:
    return Tenant(changing)


class Watched:
    """A data directory whose syncs look for drift."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.rig = Rig(simulator, folder, activity_overlap_minutes=0)
        self.root = self.rig.settings.data_dir / "lake"
        self.books = Lake(self.root, LEDGER)

    def sync(self, *tables: str, ledger: bool = True, known: tuple[str, ...] = ()) -> int:
        self.rig.sync(*(tables or READ))
        return self.classify(ledger=ledger, known=known)

    def classify(
        self,
        *,
        ledger: bool = True,
        known: tuple[str, ...] = (),
        heard: keeping.Heard = lambda _: (),
    ) -> int:
        def before(table: str, moment: datetime) -> datetime | None:
            times = [each.as_of for each in self.rig.books.history(table)]
            return max((each for each in times if each and each < moment), default=None)

        return keeping.classify(
            self.root,
            read_before=before,
            known=keeping.Known(ledger, known),
            sync_id=self.rig.books.syncs(1)[0].sync_id,
            heard_since=heard,
        )

    def listen(self) -> None:
        # The pace at which Graph may be asked is kept by a clock that does not wait.
        client = client_for(self.rig.settings, FastClock())
        try:
            read_activity(
                self.rig.settings,
                client,
                Events(self.root),
                sync_id="reading",
                tables=["directory_audits"],
            )
        finally:
            client.close()

    def rows(self) -> list[dict[str, Any]]:
        return self.books.read("grant_changes").to_pylist()

    def cause(self, principal: str, entitlement: str) -> dict[str, Any]:
        """The latest change of that access."""
        return [
            row
            for row in self.rows()
            if (row["principal_id"], row["entitlement_id"]) == (principal, entitlement)
        ][-1]


@pytest.fixture
def watched(changing: Simulator, tmp_path: Path) -> Iterator[Watched]:
    made = Watched(changing, tmp_path)
    try:
        made.sync()
        yield made
    finally:
        made.rig.close()


def test_without_audits_nothing_is_known_until_they_come(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    group = next(tenant.plain())
    user = tenant.stranger(group)
    changing.change("link", "group_members", group, user, by={"user": tenant.users[1]})
    assert watched.sync("group_members") == 1
    row = watched.cause(user, f"group:{group}:member")
    assert (row["cause"], row["actor_id"]) == ("unknown", None)
    found = findings.find(watched.root, datetime(2026, 1, 1, tzinfo=UTC))
    assert (found.found, found.unknown) == ((), 1)
    watched.listen()
    assert watched.classify() == 1
    known = watched.cause(user, f"group:{group}:member")
    assert (known["cause"], known["actor_id"]) == ("out_of_band", tenant.users[1])
    assert {**row, **{n: known[n] for n in row if known[n] != row[n]}} == known
    assert known["id"] == row["id"]
    assert len(watched.rows()) == 1
    changing.change("unlink", "group_members", group, user)


def test_what_was_gone_through_is_not_gone_through_again(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    group = list(tenant.plain())[1]
    user = tenant.stranger(group)
    changing.change("link", "group_owners", group, user)
    watched.listen()
    assert watched.sync() >= 1
    kept, version = watched.rows(), watched.books.info("grant_changes")
    assert watched.sync() == 0
    assert watched.books.info("grant_changes") == version
    # As if the commit had been lost: the same rows come out.
    for name in ("grant_changes", "grant_changes_changes"):
        folder = watched.root / name
        if folder.exists():
            folder.rename(watched.root / f"_{name}")
    assert watched.classify() == len(kept)
    again = watched.rows()
    assert [row["id"] for row in again] == [row["id"] for row in kept]
    changing.change("unlink", "group_owners", group, user)


def test_covered_time_without_an_audit_is_out_of_band_by_nobody_known(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    group = list(tenant.plain())[2]
    user = tenant.stranger(group)
    changing.change("link", "group_members", group, user, by={"user": tenant.users[1]})
    watched.sync("group_members")
    # The log is there, and says nothing of it: another tenant's day, so to say.
    events, now = Events(watched.root), datetime.now(UTC)
    from entra_pipeline.tables import EVENTS

    table = EVENTS["directory_audits"]
    events.commit(
        table,
        table.schema().empty_table(),
        sync_id="reading",
        as_of=now,
        covers=(now - timedelta(days=1), now + timedelta(hours=1)),
    )
    watched.classify()
    row = watched.cause(user, f"group:{group}:member")
    assert (row["cause"], row["actor_id"], row["audit_id"]) == ("out_of_band", None, None)
    changing.change("unlink", "group_members", group, user)


def test_what_the_ledger_did_is_not_known_while_it_is_silent(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    group = list(tenant.plain())[3]
    user = tenant.stranger(group)
    changing.change("link", "group_members", group, user, by={"user": tenant.users[1]})
    watched.listen()
    watched.sync("group_members", ledger=False)
    assert watched.cause(user, f"group:{group}:member")["cause"] == "unknown"
    watched.listen()
    watched.classify(ledger=True)
    assert watched.cause(user, f"group:{group}:member")["cause"] == "out_of_band"
    changing.change("unlink", "group_members", group, user)


def test_access_goes_with_a_deleted_account_and_who_deleted_it_is_told(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    user = next(
        user["id"]
        for user in changing.truth("users")
        if not user.get("onPremisesSyncEnabled")
        and any(user["id"] in members for members in tenant.members.values())
        and not tenant.holders("role_assignments") & {user["id"]}
    )
    admin = next(each for each in tenant.users if each != user)
    groups = {g["id"] for g in tenant.groups if user in tenant.members.get(g["id"], ())}
    changing.change("soft_delete", "users", user, by={"user": admin})
    watched.listen()
    watched.sync()
    gone = [row for row in watched.rows() if row["principal_id"] == user]
    assert groups <= {row["entitlement_id"].split(":")[1] for row in gone}
    for row in gone:
        assert (row["change"], row["through"]) == ("gone", "principal_deleted")
        assert (row["cause"], row["actor_id"]) == ("out_of_band", admin)
        assert row["activity"] == "Delete user"


def test_each_kind_of_grant_is_seen(watched: Watched, changing: Simulator, tenant: Tenant) -> None:
    admin = {"user": tenant.users[1]}
    app, role = tenant.custom_app()
    person = next(
        user
        for user in tenant.users
        if user not in tenant.holders("app_role_assignments", resourceId=app)
    )
    assignment = {
        "id": "made-by-hand",
        "principalId": person,
        "principalType": "User",
        "resourceId": app,
        "appRoleId": role,
    }
    changing.change("put", "app_role_assignments", object=assignment, by=admin)
    definition = changing.truth("role_definitions")[5]["id"]
    eligible = {
        "id": "eligible-by-hand",
        "principalId": person,
        "roleDefinitionId": definition,
        "directoryScopeId": "/",
        "memberType": "Direct",
        "startDateTime": "2026-11-01T08:00:00Z",
        "endDateTime": None,
    }
    changing.change("put", "role_eligibility_schedule_instances", object=eligible, by=admin)
    consent = changing.truth("oauth2_permission_grants")[0]
    scope = f"{consent['scope']} Extra.Read.All"
    changing.change(
        "patch", "oauth2_permission_grants", consent["id"], properties={"scope": scope}, by=admin
    )
    watched.listen()
    watched.sync()
    entitlements = {
        (person, f"app:{app}:{role}"): "active",
        (person, f"role:{definition}@/"): "eligible",
        (consent["clientId"], f"delegated:{consent['resourceId']}:Extra.Read.All"): "active",
    }
    rows = {
        (row["principal_id"], row["entitlement_id"]): row
        for row in watched.rows()
        if row["change"] == "appeared"
    }
    assert entitlements.keys() <= rows.keys()
    for key, state in entitlements.items():
        told = rows[key]
        assert (told["state"], told["cause"], told["actor_id"]) == (
            state,
            "out_of_band",
            admin["user"],
        )
    # The end that PIM had foreseen is PIM's doing, one that it had not is somebody's.
    changing.change("remove", "role_eligibility_schedule_instances", eligible["id"], by=admin)
    watched.listen()
    watched.sync("role_eligibility_schedule_instances")
    assert watched.cause(person, f"role:{definition}@/")["cause"] == "out_of_band"
    ended = {**eligible, "id": "ends", "endDateTime": "2026-11-02T08:00:00Z"}
    changing.change("put", "role_eligibility_schedule_instances", object=ended, by=admin)
    watched.sync("role_eligibility_schedule_instances")
    changing.change("remove", "role_eligibility_schedule_instances", "ends", by=admin)
    watched.listen()
    watched.sync("role_eligibility_schedule_instances")
    assert watched.cause(person, f"role:{definition}@/")["cause"] == "pim"


def exported(watched: Watched, user: str, access: str, action: str, at: datetime) -> str:
    """What a sync would export of a request that was carried out and confirmed then."""
    name = f"req_{action}"
    kind = "grant" if action.startswith("add") else "revoke"
    rows: dict[str, dict[str, Any]] = {
        "requests": {"id": name, "kind": kind, "mode": "direct", "state": "done"},
        "operations": {
            "id": f"{name}-0",
            "request_id": name,
            "action": action,
            "target_id": access.split(":")[1],
            "state": "verified",
            "added": True,
            "written_at": at,
            "changed_at": at,
            "client_request_id": name,
        },
    }
    about = {"principal_id": user, "entitlement_id": access}
    for table, row in rows.items():
        declared = LEDGER[table]
        nothing = {column.name: None for column in declared.columns}
        before = watched.books.read(table).to_pylist()
        made = pa.Table.from_pylist([*before, {**nothing, **row, **about}], declared.schema())
        watched.books.commit(declared, made, sync_id="export", as_of=datetime.now(UTC))
    return name


def test_what_was_undone_between_two_syncs_is_found_though_no_row_changed(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    left, right = list(tenant.plain())[4:6]
    held, lost = tenant.members[left][0], tenant.stranger(right)
    at = datetime.now(UTC) - timedelta(hours=1)
    revoked = exported(watched, held, f"group:{left}:member", "remove_group_member", at)
    granted = exported(watched, lost, f"group:{right}:member", "add_group_member", at)
    # Somebody put it back meanwhile; the member is there in the end as in the beginning.
    admin = {"user": tenant.users[1]}
    for op in ("unlink", "link"):
        changing.change(op, "group_members", left, held, by=admin)
    watched.listen()
    watched.sync("group_members")
    back = watched.cause(held, f"group:{left}:member")
    assert (back["change"], back["cause"]) == ("appeared", "out_of_band")
    assert (back["reverts"], back["actor_id"]) == (revoked, tenant.users[1])
    gone = watched.cause(lost, f"group:{right}:member")
    assert (gone["change"], gone["reverts"], gone["actor_id"]) == ("gone", granted, None)
    kept = len(watched.rows())
    watched.sync()
    assert len(watched.rows()) == kept
    told = findings.find(watched.root, at).found
    assert {each.row["reverts"] for each in told} == {revoked, granted}
    assert findings.repair(findings.one(watched.root, back["id"])) == {
        "kind": "revoke",
        "principal_id": held,
        "access": f"group:{left}:member",
        "mode": "direct",
    }


def test_what_is_older_than_history_is_kept_goes(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    group = list(tenant.plain())[6]
    user = tenant.stranger(group)
    for op in ("link", "unlink"):
        changing.change(op, "group_members", group, user)
        watched.sync("group_members")
    rows = watched.rows()
    last = rows[-1]
    now = datetime.now(UTC)
    assert keeping.maintain(watched.root, last["seen_at"], "maintenance", now) == len(rows) - 1
    assert watched.rows() == [last]
    # What was gone through stays so.
    assert watched.classify() == 0
    assert keeping.maintain(watched.root, last["seen_at"], "maintenance", now) == 0


def test_what_the_event_feed_heard_is_evidence_before_the_log_is_read(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    by_hand, by_robot = list(tenant.plain())[7:9]
    user, robot = tenant.stranger(by_hand), tenant.service_principals[1]
    other = tenant.stranger(by_robot)
    changing.change("link", "group_members", by_hand, user, by={"user": tenant.users[1]})
    changing.change("link", "group_members", by_robot, other, by={"app": robot["id"]})
    settings = watched.rig.settings.model_copy(update={"activity_overlap_minutes": 60})
    feed = Feed(DataDirectory.claim(settings.data_dir, settings.tenant_id))
    # What the feed heard is of no use to a sync that is not told of it.
    watched.rig.sync("group_members")
    assert listen(settings, watched.rig.client, feed).reason is None
    watched.classify(known=(robot["appId"],), heard=lambda since: feed.events(since=since))
    rows = [watched.cause(user, f"group:{by_hand}:member")]
    rows.append(watched.cause(other, f"group:{by_robot}:member"))
    assert [(row["cause"], row["actor_id"]) for row in rows] == [
        ("out_of_band", tenant.users[1]),
        ("automation", robot["id"]),
    ]


def test_what_was_done_once_explains_one_change(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    ours, theirs = list(tenant.plain())[9:11]
    admin, robot = {"user": tenant.users[1]}, tenant.service_principals[1]
    one, two = tenant.stranger(ours), tenant.stranger(theirs)
    pairs = ((ours, one), (theirs, two))
    known = (robot["id"],)

    def causes() -> list[str]:
        return [watched.cause(user, f"group:{group}:member")["cause"] for group, user in pairs]

    # The ledger gives one membership, the robot the other.
    changing.change("link", "group_members", ours, one)
    changing.change("link", "group_members", theirs, two, by={"app": robot["id"]})
    written = datetime.now(UTC)
    request = exported(watched, one, f"group:{ours}:member", "add_group_member", written)
    watched.listen()
    watched.sync("group_members", known=known)
    assert causes() == ["ledger", "automation"]
    assert watched.cause(one, f"group:{ours}:member")["request_id"] == request
    for group, user in pairs:
        changing.change("unlink", "group_members", group, user, by=admin)
    watched.listen()
    watched.sync("group_members", known=known)
    assert causes() == ["out_of_band", "out_of_band"]
    taken = watched.cause(one, f"group:{ours}:member")
    assert (taken["change"], taken["reverts"]) == ("gone", request)
    # Given again minutes later, by hand: what was done before explains nothing of it.
    for group, user in pairs:
        changing.change("link", "group_members", group, user, by=admin)
    watched.sync("group_members", known=known)
    assert causes() == ["unknown", "unknown"]
    watched.listen()
    watched.classify(known=known)
    assert causes() == ["out_of_band", "out_of_band"]
    assert {watched.cause(u, f"group:{g}:member")["actor_id"] for g, u in pairs} == {admin["user"]}


def test_the_writers_application_without_the_ledger_is_out_of_band(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    group = list(tenant.plain())[11]
    user, writer = tenant.stranger(group), tenant.service_principals[2]
    operation = exported(
        watched, user, f"group:{group}:owner", "add_group_owner", datetime.now(UTC)
    )
    changing.change("link", "group_members", group, user, by={"app": writer["id"]})
    watched.listen()
    watched.sync("group_members")
    row = watched.cause(user, f"group:{group}:member")
    assert (row["cause"], row["actor_id"]) == ("out_of_band", writer["id"])
    assert row["request_id"] != operation


def test_what_pim_does_for_an_administrator_is_the_administrators(
    watched: Watched, changing: Simulator, tenant: Tenant
) -> None:
    # PIM's own application, which writes to the directory what people ask PIM for.
    pim = {
        **changing.truth("service_principals")[0],
        "id": "01fc33a7-0000-4000-8000-000000000001",
        "appId": "01fc33a7-78ba-4d2f-a4b7-768e336e890e",
        "displayName": "MS-PIM",
    }
    changing.change("put", "service_principals", object=pim)
    admin, user = tenant.users[1], tenant.users[3]
    role = changing.truth("role_definitions")[7]["id"]
    row = {"principalId": user, "roleDefinitionId": role, "directoryScopeId": "/"}
    changing.change(
        "put", "role_assignments", object={**row, "id": "by-pim"}, by={"app": pim["id"]}
    )
    watched.listen()
    watched.sync("role_assignments")
    entitlement = f"role:{role}@/"
    # The audit of who asked is not there yet.
    assert watched.cause(user, entitlement)["cause"] == "unknown"
    instance = {
        **row,
        "id": "assigned",
        "assignmentType": "Assigned",
        "memberType": "Direct",
        "startDateTime": "2026-11-01T08:00:00Z",
        "endDateTime": None,
    }
    changing.change(
        "put", "role_assignment_schedule_instances", object=instance, by={"user": admin}
    )
    watched.listen()
    watched.sync("role_assignment_schedule_instances")
    rows = [each for each in watched.rows() if each["entitlement_id"] == entitlement]
    assert {each["source_table"] for each in rows} == {
        "role_assignments",
        "role_assignment_schedule_instances",
    }
    assert {(each["cause"], each["actor_id"]) for each in rows} == {("out_of_band", admin)}
    # Told once, though two tables have it.
    told = findings.find(watched.root, datetime(2026, 1, 1, tzinfo=UTC)).found
    assert [each.row["source_table"] for each in told] == ["role_assignments"]
