"""A client for raw requests, and two simulators: a generated tenant and a hand-written one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.simulator.tenant import Tenant, dump

EVENTUAL = {"ConsistencyLevel": "eventual"}


def guid(number: int) -> str:
    """A readable object id."""
    return f"00000000-0000-4000-8000-{number:012d}"


class Client:
    """Requests with a token, on the plain port unless told otherwise."""

    def __init__(self, simulator: Simulator, *, secure: bool = False) -> None:
        self.simulator = simulator
        self.base = simulator.info.graph_url if secure else simulator.info.http_graph_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = simulator.info.ca_file
        self.session.headers["Authorization"] = f"Bearer {simulator.token()}"

    def get(self, path: str, headers: dict[str, str] | None = None) -> requests.Response:
        url = path if path.startswith("http") else f"{self.base}/v1.0{path}"
        return self.session.get(url, headers=headers, timeout=30)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        return self.session.post(f"{self.base}/v1.0{path}", json=body, headers=headers, timeout=30)

    def rows(self, path: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """All rows of a list, page by page."""
        found: list[dict[str, Any]] = []
        link: str | None = path
        while link is not None:
            answer = self.get(link, headers)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["value"]
            link = page.get("@odata.nextLink")
        return found

    def ids(self, path: str, headers: dict[str, str] | None = None) -> list[str]:
        return [row["id"] for row in self.rows(path, headers)]

    def refusal(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and Graph's code of a request that must fail."""
        answer = self.get(path, headers)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="session")
def generated() -> Iterator[Client]:
    """A generated tenant of 150 users; nobody changes it."""
    with running(users=150, groups=60, seed=7) as simulator:
        yield Client(simulator)


TENANT_ID = guid(1)
ADA, BOB, EVE, GUEST, GONE = (guid(number) for number in range(11, 16))
STAFF, NESTED, SECRET, TEAM = (guid(number) for number in range(21, 25))
ROBOT, PORTAL = guid(31), guid(32)
PORTAL_APP = guid(41)
LAPTOP = guid(51)
UNIT = guid(61)
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


def golden() -> Tenant:
    """A tenant small enough to know by heart."""
    tenant = Tenant(TENANT_ID)

    def put(collection: str, **row: Any) -> None:
        tenant.objects[collection][row["id"]] = row

    put("organization", id=TENANT_ID, displayName="Golden")
    put("domains", id="golden.example", isVerified=True)
    for object_id, name, more in (
        (ADA, "Ada", {"jobTitle": "Engineer", "accountEnabled": True, "department": "R&D"}),
        (BOB, "Bob O'Hara", {"jobTitle": "Engineer", "accountEnabled": False}),
        (EVE, "Eve", {"jobTitle": None, "accountEnabled": True, "extension_badge": "42"}),
        (GUEST, "Guest", {"userType": "Guest", "@odata.type": "#microsoft.graph.agentUser"}),
    ):
        put(
            "users",
            id=object_id,
            displayName=name,
            userPrincipalName=f"{name.split()[0].lower()}@golden.example",
            mail=f"{name.split()[0].lower()}@golden.example",
            createdDateTime="2026-01-01T00:00:00.5Z"
            if object_id == BOB
            else "2026-01-01T00:00:00Z",
            otherMails=[],
            signInActivity={"lastSignInDateTime": "2026-02-01T00:00:00Z"},
            **more,
        )
    for object_id, name, group_types, visibility in (
        (STAFF, "Staff", [], None),
        (NESTED, "Nested", [], None),
        (SECRET, "Secret", [], "HiddenMembership"),
        (TEAM, "Team", ["Unified"], "Private"),
    ):
        put(
            "groups",
            id=object_id,
            displayName=name,
            groupTypes=group_types,
            visibility=visibility,
            securityEnabled=True,
            assignedLicenses=[],
        )
    put(
        "service_principals",
        id=ROBOT,
        appId=guid(131),
        displayName="Robot",
        servicePrincipalType="Application",
        keyCredentials=[{"keyId": guid(231), "key": "c2VjcmV0", "type": "AsymmetricX509Cert"}],
    )
    put("service_principals", id=PORTAL, appId=guid(141), displayName="Portal")
    put(
        "applications",
        id=PORTAL_APP,
        appId=guid(141),
        displayName="Portal",
        federatedIdentityCredentials=[
            {"id": guid(241), "name": "ci", "issuer": "https://ci.example", "subject": "main"}
        ],
    )
    put("devices", id=LAPTOP, deviceId=guid(151), displayName="Laptop")
    put("administrative_units", id=UNIT, displayName="Unit", visibility=None)
    put("contacts", id=guid(71), displayName="Contact", mail="contact@else.example")
    put(
        "role_definitions",
        id=GLOBAL_ADMINISTRATOR,
        templateId=GLOBAL_ADMINISTRATOR,
        displayName="Global Administrator",
        isBuiltIn=True,
        isEnabled=True,
    )
    put(
        "role_assignments",
        id="ra-1",
        principalId=ADA,
        roleDefinitionId=GLOBAL_ADMINISTRATOR,
        directoryScopeId="/",
    )
    put(
        "role_assignments",
        id="ra-2",
        principalId=GONE,
        roleDefinitionId=GLOBAL_ADMINISTRATOR,
        directoryScopeId=f"/administrativeUnits/{UNIT}",
    )
    put(
        "role_eligibility_schedule_instances",
        id="re-1",
        principalId=BOB,
        roleDefinitionId=GLOBAL_ADMINISTRATOR,
        directoryScopeId="/",
    )
    put("group_eligibility_schedule_instances", id="ge-1", principalId=BOB, groupId=STAFF)
    put(
        "app_role_assignments",
        id="ara-1",
        principalId=STAFF,
        principalType="Group",
        resourceId=PORTAL,
        appRoleId=guid(0),
    )
    put(
        "app_role_assignments",
        id="ara-2",
        principalId=ADA,
        principalType="User",
        resourceId=PORTAL,
        appRoleId=guid(0),
    )
    put(
        "oauth2_permission_grants",
        id="g-1",
        clientId=PORTAL,
        consentType="AllPrincipals",
        principalId=None,
        resourceId=ROBOT,
        scope=" User.Read",
    )
    put(
        "synchronization_jobs",
        id="job-1",
        servicePrincipalId=PORTAL,
        templateId="scim",
    )
    put(
        "authentication_methods",
        id="m-1",
        userId=ADA,
        **{"@odata.type": "#microsoft.graph.fido2AuthenticationMethod", "model": "Key"},
    )
    put("user_registration_details", id=ADA, isMfaCapable=True, userPrincipalName="ada")
    put("conditional_access_policies", id=guid(91), displayName="Require MFA", state="enabled")
    put(
        "deleted_items",
        id=GONE,
        displayName="Gone",
        deletedDateTime="2026-01-05T00:00:00Z",
        **{"@odata.type": "#microsoft.graph.user"},
    )
    links = tenant.links
    links["group_members"] = {
        STAFF: [ADA, NESTED, ROBOT, LAPTOP],
        NESTED: [BOB, STAFF],
        SECRET: [EVE],
        TEAM: [ADA],
    }
    links["group_owners"] = {STAFF: [ADA, ROBOT]}
    links["administrative_unit_members"] = {UNIT: [ADA]}
    links["application_owners"] = {PORTAL_APP: [ADA]}
    links["service_principal_owners"] = {PORTAL: [BOB]}
    links["device_owners"] = {LAPTOP: [ADA]}
    links["device_users"] = {LAPTOP: [BOB]}
    links["managers"] = {BOB: [ADA]}
    return tenant


@pytest.fixture(scope="session")
def golden_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("golden")
    dump(golden(), directory)
    return directory


@pytest.fixture(scope="session")
def small(golden_directory: Path) -> Iterator[Client]:
    """The hand-written tenant; nobody changes it."""
    with running(tenant=golden_directory) as simulator:
        yield Client(simulator)
