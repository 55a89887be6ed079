"""What writes leave behind has the shapes of Microsoft's metadata, in a generated tenant."""

from typing import Any

from entra_pipeline.simulator.conformance import COLLECTION_TYPES, violations
from entra_pipeline.simulator.process import running
from tests.simulator.writing import Writing

HOUR = {"expiration": {"type": "afterDuration", "duration": "PT1H"}}
ROLE = "4a5d8f65-41da-4de4-8968-e035b65339cf"
PIM = {
    "/roleManagement/directory/roleAssignmentScheduleRequests": "unifiedRoleAssignment",
    "/roleManagement/directory/roleEligibilityScheduleRequests": "unifiedRoleEligibility",
    "/identityGovernance/privilegedAccess/group/assignmentScheduleRequests": (
        "privilegedAccessGroupAssignment"
    ),
    "/identityGovernance/privilegedAccess/group/eligibilityScheduleRequests": (
        "privilegedAccessGroupEligibility"
    ),
}


def assert_conforms(rows: list[dict[str, Any]], type_name: str) -> None:
    assert [fault for row in rows for fault in violations(row, type_name)] == []


def test_everything_written_has_its_types() -> None:
    with running(
        users=60,
        groups=30,
        seed=7,
        writer=True,
        writer_roles=["Privileged Authentication Administrator"],
    ) as simulator:
        client = Writing(simulator)
        domain = next(row["id"] for row in simulator.truth("domains") if row["isDefault"])
        user = client.done(
            "POST",
            "/users",
            {
                "accountEnabled": True,
                "displayName": "New",
                "mailNickname": "brand.new",
                "passwordProfile": {"password": "Long-enough-1"},
                "usageLocation": "SE",
                "userPrincipalName": f"brand.new@{domain}",
                "onPremisesExtensionAttributes": {"extensionAttribute2": "b"},
            },
            201,
        )["id"]
        group = client.new_group()
        client.done("POST", f"/users/{user}/revokeSignInSessions", status=200)
        client.done("PATCH", f"/users/{user}", {"passwordProfile": {"password": "Longer-one-2"}})
        client.done("PATCH", f"/users/{user}", {"accountEnabled": False})
        guest = {
            "invitedUserEmailAddress": "guest@partner.example",
            "inviteRedirectUrl": "https://myapps.microsoft.com",
        }
        client.done("POST", "/invitations", guest, 201)
        sku = next(
            row["skuId"]
            for row in simulator.truth("subscribed_skus")
            if row["prepaidUnits"]["enabled"] > row["consumedUnits"]
        )
        licence = {"addLicenses": [{"skuId": sku, "disabledPlans": []}], "removeLicenses": []}
        client.done("POST", f"/users/{user}/assignLicense", licence, 200)
        for path, name in PIM.items():
            what = (
                {"roleDefinitionId": ROLE, "directoryScopeId": "/"}
                if "role" in name.lower()
                else {"groupId": group, "accessId": "owner"}
            )
            body = {"action": "adminAssign", "principalId": user, "scheduleInfo": HOUR, **what}
            made = client.done("POST", path, body, 201)
            made.pop("@odata.context")
            assert_conforms([made], f"{name}ScheduleRequest")
        resource = next(
            row
            for row in simulator.truth("service_principals")
            if any("User" in each["allowedMemberTypes"] for each in row["appRoles"])
        )
        role = next(
            each["id"] for each in resource["appRoles"] if "User" in each["allowedMemberTypes"]
        )
        body = {"principalId": user, "resourceId": resource["id"], "appRoleId": role}
        path = f"/servicePrincipals/{resource['id']}/appRoleAssignedTo"
        client.done("POST", path, body, 201)
        for name, type_name in COLLECTION_TYPES.items():
            rows = simulator.truth(name)
            for row in rows:
                for own in ("servicePrincipalId", "userId"):
                    row.pop(own, None)
            assert_conforms(rows, type_name)
        audits = client.rows("/auditLogs/directoryAudits")
        assert len(audits) > 12
        assert_conforms(audits, "directoryAudit")
        assert {row["initiatedBy"]["app"]["displayName"] for row in audits} == {
            "entra_pipeline writer"
        }
        assert client.rows("/roleManagement/directory/roleAssignmentSchedules")
        client.done("DELETE", f"/users/{user}")
        assert_conforms(simulator.truth("deleted_items"), "directoryObject")
