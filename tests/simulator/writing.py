"""What the tests of writes share: a client that writes, and a tenant with one of everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import requests

from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.simulator.tenant import Tenant, dump
from tests.simulator.conftest import Client, guid

TENANT = guid(1)
ADA, BOB, EVE, ADMIN, HELPER, SYNCED, ABROAD, LONER = (guid(number) for number in range(11, 19))
STAFF, NESTED, DYNAMIC, TEAM, LIST, ON_PREMISES, ROLE_GROUP, LICENSED, GUARDED, EMPTY = (
    guid(number) for number in range(21, 31)
)
ROBOT, PORTAL = guid(41), guid(42)
LAPTOP, CONTACT = guid(51), guid(52)
UNIT, VAULT = guid(61), guid(62)
PORTAL_APP = guid(71)
READER_ROLE, OLD_ROLE, DAEMON_ROLE = guid(81), guid(82), guid(83)
SUITE, RARE = guid(91), guid(92)
PLAN_A, PLAN_B = guid(93), guid(94)
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
USER_ADMINISTRATOR = "fe930be7-5e62-47db-91af-98c3a49a38b1"
PRIVILEGED_AUTHENTICATION_ADMINISTRATOR = "7be44c8a-adaf-4e2a-84d6-ab2649e08a13"
REPORTS_READER = "4a5d8f65-41da-4de4-8968-e035b65339cf"
NOBODY = guid(999)
ZERO = guid(0).replace("4000-8000", "0000-0000")
PASSWORD_METHOD = "28c10230-6103-485e-b985-444c60001490"


def tenant() -> Tenant:
    """A tenant in which every refusal has something to refuse."""
    made = Tenant(TENANT)

    def put(collection: str, **row: Any) -> None:
        key = (
            f"{row['userId']}/{row['id']}" if collection == "authentication_methods" else row["id"]
        )
        made.objects[collection][key] = row

    put("organization", id=TENANT, displayName="Writing")
    put("domains", id="writing.example", isVerified=True, isDefault=True, isInitial=False)
    put("domains", id="writing.onmicrosoft.example", isVerified=True, isInitial=True)
    put("domains", id="federated.example", isVerified=True, authenticationType="Federated")
    put("domains", id="pending.example", isVerified=False)
    for object_id, name, more in (
        (ADA, "ada", {}),
        (BOB, "bob", {}),
        (EVE, "eve", {"accountEnabled": False}),
        (ADMIN, "admin", {}),
        (HELPER, "helper", {}),
        (SYNCED, "synced", {"onPremisesSyncEnabled": True}),
        (ABROAD, "abroad", {"usageLocation": None}),
        (LONER, "loner", {}),
    ):
        put(
            "users",
            **{
                "id": object_id,
                "displayName": name.capitalize(),
                "accountEnabled": True,
                "assignedLicenses": [],
                "licenseAssignmentStates": [],
                "mail": f"{name}@writing.example",
                "mailNickname": name,
                "otherMails": [],
                "proxyAddresses": [],
                "usageLocation": "SE",
                "userPrincipalName": f"{name}@writing.example",
                "userType": "Member",
                **more,
            },
        )
    for object_id, name, more in (
        (STAFF, "staff", {}),
        (NESTED, "nested", {}),
        (DYNAMIC, "dynamic", {"groupTypes": ["DynamicMembership"]}),
        (
            TEAM,
            "team",
            {"groupTypes": ["Unified"], "mailEnabled": True, "securityEnabled": False},
        ),
        (LIST, "list", {"mailEnabled": True, "securityEnabled": False}),
        (ON_PREMISES, "on-premises", {"onPremisesSyncEnabled": True}),
        (ROLE_GROUP, "role-group", {"isAssignableToRole": True}),
        (
            LICENSED,
            "licensed",
            {"assignedLicenses": [{"skuId": SUITE, "disabledPlans": [PLAN_B]}]},
        ),
        (GUARDED, "guarded", {}),
        (EMPTY, "empty", {}),
    ):
        put(
            "groups",
            **{
                "id": object_id,
                "displayName": name,
                "assignedLicenses": [],
                "groupTypes": [],
                "mailEnabled": False,
                "mailNickname": name,
                "securityEnabled": True,
                **more,
            },
        )
    put("service_principals", id=ROBOT, appId=guid(141), displayName="Robot", appRoles=[])
    put(
        "service_principals",
        id=PORTAL,
        appId=guid(142),
        displayName="Portal",
        appRoles=[
            {
                "id": READER_ROLE,
                "allowedMemberTypes": ["User"],
                "displayName": "Reader",
                "isEnabled": True,
                "value": "reader",
            },
            {
                "id": OLD_ROLE,
                "allowedMemberTypes": ["User"],
                "displayName": "Old",
                "isEnabled": False,
                "value": "old",
            },
            {
                "id": DAEMON_ROLE,
                "allowedMemberTypes": ["Application"],
                "displayName": "Daemon",
                "isEnabled": True,
                "value": "daemon",
            },
        ],
    )
    put("applications", id=PORTAL_APP, appId=guid(142), displayName="Portal")
    put("devices", id=LAPTOP, deviceId=guid(151), displayName="Laptop")
    put("contacts", id=CONTACT, displayName="Contact", mail="contact@else.example")
    put("administrative_units", id=UNIT, displayName="Unit")
    put("administrative_units", id=VAULT, displayName="Vault", isMemberManagementRestricted=True)
    for role, name in (
        (GLOBAL_ADMINISTRATOR, "Global Administrator"),
        (USER_ADMINISTRATOR, "User Administrator"),
        (PRIVILEGED_AUTHENTICATION_ADMINISTRATOR, "Privileged Authentication Administrator"),
        (REPORTS_READER, "Reports Reader"),
    ):
        put(
            "role_definitions",
            id=role,
            templateId=role,
            displayName=name,
            isBuiltIn=True,
            isEnabled=True,
        )
    for key, principal, role in (
        ("ra-1", ADMIN, GLOBAL_ADMINISTRATOR),
        ("ra-2", HELPER, REPORTS_READER),
    ):
        put(
            "role_assignments",
            id=key,
            principalId=principal,
            roleDefinitionId=role,
            directoryScopeId="/",
        )
    for sku, name, total, used in ((SUITE, "SUITE", 10, 0), (RARE, "RARE", 1, 1)):
        put(
            "subscribed_skus",
            id=f"{TENANT}_{sku}",
            skuId=sku,
            skuPartNumber=name,
            capabilityStatus="Enabled",
            consumedUnits=used,
            prepaidUnits={"enabled": total, "suspended": 0, "warning": 0},
            servicePlans=[
                {"servicePlanId": PLAN_A, "servicePlanName": "A", "appliesTo": "User"},
                {"servicePlanId": PLAN_B, "servicePlanName": "B", "appliesTo": "User"},
            ],
        )
    links = made.links
    links["group_members"] = {STAFF: [ADA], NESTED: [BOB], ROLE_GROUP: [LONER], TEAM: [ADA]}
    links["group_owners"] = {STAFF: [ADA, ROBOT], NESTED: [ADA, BOB]}
    links["administrative_unit_members"] = {VAULT: [GUARDED], UNIT: [BOB]}
    links["managers"] = {BOB: [ADA]}
    return made


_numbers = count()


class Writing(Client):
    """Requests of the writing application."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self._seen = 0
        self._waited = 0.0
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Let time pass; the token is a new one afterwards."""
        self.simulator.advance(seconds)
        self._waited += seconds
        self.session.headers["Authorization"] = f"Bearer {self.simulator.token(writer=True)}"

    def now(self) -> datetime:
        """The simulator's time."""
        return datetime.now(UTC) + timedelta(seconds=self._waited)

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """A write."""
        return self.session.request(
            method, f"{self.base}/v1.0{path}", json=body, headers=headers, timeout=30
        )

    def done(self, method: str, path: str, body: Any = None, status: int = 204) -> Any:
        """A write that must succeed; its JSON, or None."""
        answer = self.send(method, path, body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        """A write that must fail and change nothing: status, code, message."""
        before = len(self.simulator.effects())
        answer = self.send(method, path, body)
        assert answer.status_code >= 400, answer.text
        assert len(self.simulator.effects()) == before
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"]

    def ref(self, object_id: str, kind: str = "directoryObjects") -> dict[str, str]:
        """The body that refers to an object."""
        return {"@odata.id": f"{self.base}/v1.0/{kind}/{object_id}"}

    def link(self, object_id: str) -> str:
        """An address to bind."""
        return f"{self.base}/v1.0/directoryObjects/{object_id}"

    def new_user(self) -> str:
        """A user of the test's own."""
        name = f"test.{next(_numbers)}"
        user = self.done(
            "POST",
            "/users",
            {
                "accountEnabled": True,
                "displayName": name,
                "mailNickname": name,
                "passwordProfile": {"password": "Long-enough-1"},
                "userPrincipalName": f"{name}@writing.example",
            },
            201,
        )
        return str(user["id"])

    def new_group(self) -> str:
        """An empty security group of the test's own."""
        name = f"test.{next(_numbers)}"
        group = self.done(
            "POST",
            "/groups",
            {
                "displayName": name,
                "mailEnabled": False,
                "mailNickname": name,
                "securityEnabled": True,
            },
            201,
        )
        return str(group["id"])

    def news(self) -> list[tuple[str, str, str | None]]:
        """Kind, target and principal of the effects since the last call."""
        rows = self.simulator.effects(self._seen)
        self._seen += len(rows)
        return [(row["kind"], row["target"], row["principal"]) for row in rows]

    def activities(self) -> list[str]:
        """Names in the audit log, oldest first."""
        rows = self.rows("/auditLogs/directoryAudits")
        rows.sort(key=lambda row: str(row["activityDateTime"]))
        return [row["activityDisplayName"] for row in rows]


@contextmanager
def writing(directory: Path, **options: Any) -> Iterator[Writing]:
    """A simulator of `tenant()` and its writer."""
    dump(tenant(), directory)
    with running(tenant=directory, writer=True, **options) as simulator:
        yield Writing(simulator)
