"""Directory roles: definitions, assignments at every scope, and privileged identity management.

Here: who holds which role, active or eligible. Role assignments of a P2 tenant appear twice, as
in Graph: as role assignments and as schedule instances, with derived rows (`memberType` Group) for
the members of a group that holds a role. Not here: the demo's named figures (`demo`).
"""

import json
import random
from pathlib import Path

from entra_pipeline.simulator.generate.applications import AppSets
from entra_pipeline.simulator.generate.build import Build, new_id, new_token, pick
from entra_pipeline.simulator.generate.groups import GroupSets

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
USER_ADMINISTRATOR = "fe930be7-5e62-47db-91af-98c3a49a38b1"
HELPDESK_ADMINISTRATOR = "729827e3-9c14-49f7-bb1b-9608f156bbb8"
APPLICATION_ADMINISTRATOR = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
CLOUD_APPLICATION_ADMINISTRATOR = "158c047a-c907-4556-b7ef-446551a6b5f7"
PRIVILEGED_ROLE_ADMINISTRATOR = "e8611ab8-c189-46e8-94e1-60213ab1f814"
GROUPS_ADMINISTRATOR = "fdd7a751-b60b-444a-984c-02652fe8fa1c"
EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"
DIRECTORY_READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"

_UNIT_ROLES = (
    USER_ADMINISTRATOR,
    HELPDESK_ADMINISTRATOR,
    GROUPS_ADMINISTRATOR,
    "4d6ac14f-3453-41d0-bef9-a3e0c569773a",
    "c4e39bd9-1100-46d3-8c65-fb160da0071f",
    "966707d0-3269-4727-9be2-8c3a10f19b9d",
)
"""Roles that can be assigned for an administrative unit."""

_NOT_ASSIGNED = frozenset(
    (
        "10dae51f-b6af-4016-8d66-8c2a99b929b3",
        "2af84b1e-32c8-42b7-82bc-daa82404023b",
        "a0b1b346-4d3e-4e8b-98f8-753987be4970",
        GLOBAL_ADMINISTRATOR,
        PRIVILEGED_ROLE_ADMINISTRATOR,
    )
)

_CUSTOM = (
    ("Application Credential Operator", ["microsoft.directory/applications/credentials/update"]),
    ("Group Membership Auditor", ["microsoft.directory/groups/members/read"]),
    (
        "Enterprise Application Consent Reviewer",
        ["microsoft.directory/servicePrincipals/standard/read"],
    ),
)


def add_role_definitions(build: Build) -> None:
    """Add the built-in roles with their true ids, and three custom roles."""
    rng = build.rng("role definitions")
    facts = json.loads((Path(__file__).parent / "facts" / "builtin_roles.json").read_text("utf-8"))
    for fact in facts:
        _definition(build, fact["id"], fact["displayName"], fact["actions"], True)
    for name, actions in _CUSTOM:
        role_id = new_id(rng)
        _definition(build, role_id, name, actions, False)
        build.known[f"role {name}"] = role_id


def _definition(build: Build, role_id: str, name: str, actions: list[str], built_in: bool) -> None:
    build.add(
        "role_definitions",
        {
            "id": role_id,
            "description": f"{name}: a role of the directory" if built_in else None,
            "displayName": name,
            "isBuiltIn": built_in,
            "isEnabled": True,
            "resourceScopes": ["/"],
            "rolePermissions": [
                {
                    "allowedResourceActions": actions,
                    "condition": None,
                    "excludedResourceActions": [],
                }
            ],
            "templateId": role_id,
            "version": "1" if built_in else None,
        },
    )


def assign_role(
    build: Build,
    rng: random.Random,
    role_id: str,
    principal_id: str,
    scope: str = "/",
    activated: bool = False,
) -> None:
    """An active assignment; in a P2 tenant also its schedule instances."""
    assignment_id = new_token(rng) + "-1"
    build.add(
        "role_assignments",
        {
            "id": assignment_id,
            "appScopeId": None,
            "condition": None,
            "directoryScopeId": scope,
            "principalId": principal_id,
            "principalOrganizationId": build.tenant.tenant_id,
            "roleDefinitionId": role_id,
        },
    )
    if build.license != "p2":
        return
    start, end = build.precise_ago(rng, 0.1 if activated else rng.uniform(5, 900)), None
    if activated:
        end = build.precise_ago(rng, -0.23)
    members = [(principal_id, "Direct")]
    members += [(member, "Group") for member in _group_people(build, principal_id)]
    schedule_id = new_id(rng)
    for member, member_type in members:
        build.add(
            "role_assignment_schedule_instances",
            {
                "id": assignment_id if member_type == "Direct" else new_token(rng) + "-1",
                "appScopeId": None,
                "assignmentType": "Activated" if activated else "Assigned",
                "directoryScopeId": scope,
                "endDateTime": end,
                "memberType": member_type,
                "principalId": member,
                "roleAssignmentOriginId": assignment_id,
                "roleAssignmentScheduleId": schedule_id,
                "roleDefinitionId": role_id,
                "startDateTime": start,
            },
        )


def make_eligible(
    build: Build, rng: random.Random, role_id: str, principal_id: str, scope: str = "/"
) -> None:
    """An eligible assignment (PIM); nothing in a tenant without P2."""
    if build.license != "p2":
        return
    schedule_id = new_id(rng)
    started = rng.uniform(5, 400)
    end = build.precise_ago(rng, started - 365 * 2) if rng.random() < 0.7 else None
    members = [(principal_id, "Direct")]
    members += [(member, "Group") for member in _group_people(build, principal_id)]
    for member, member_type in members:
        build.add(
            "role_eligibility_schedule_instances",
            {
                "id": new_token(rng) + "-1-e",
                "appScopeId": None,
                "directoryScopeId": scope,
                "endDateTime": end,
                "memberType": member_type,
                "principalId": member,
                "roleDefinitionId": role_id,
                "roleEligibilityScheduleId": schedule_id,
                "startDateTime": build.precise_ago(rng, started),
            },
        )


def make_group_eligible(
    build: Build, rng: random.Random, group_id: str, principal_id: str, access: str = "member"
) -> None:
    """An eligible membership or ownership (PIM for groups); nothing in a tenant without P2."""
    if build.license != "p2":
        return
    schedule_id = new_id(rng)
    build.add(
        "group_eligibility_schedule_instances",
        {
            "id": f"{group_id}_{access}_{schedule_id}",
            "accessId": access,
            "eligibilityScheduleId": f"{group_id}_{access}_{schedule_id}",
            "endDateTime": build.precise_ago(rng, -rng.uniform(20, 300)),
            "groupId": group_id,
            "memberType": "direct",
            "principalId": principal_id,
            "startDateTime": build.precise_ago(rng, rng.uniform(5, 300)),
        },
    )


def activate_group(
    build: Build, rng: random.Random, group_id: str, principal_id: str, access: str = "member"
) -> None:
    """A membership or ownership that is active now for some hours (PIM for groups)."""
    relation = "group_members" if access == "member" else "group_owners"
    build.link(relation, group_id, [principal_id])
    if build.license == "p2":
        _group_instance(build, rng, group_id, principal_id, access, activated=True)


def _group_instance(
    build: Build,
    rng: random.Random,
    group_id: str,
    principal_id: str,
    access: str,
    activated: bool,
) -> None:
    schedule_id = new_id(rng)
    build.add(
        "group_assignment_schedule_instances",
        {
            "id": f"{group_id}_{access}_{schedule_id}",
            "accessId": access,
            "assignmentScheduleId": f"{group_id}_{access}_{schedule_id}",
            "assignmentType": "activated" if activated else "assigned",
            "endDateTime": build.precise_ago(rng, -0.3) if activated else None,
            "groupId": group_id,
            "memberType": "direct",
            "principalId": principal_id,
            "startDateTime": build.precise_ago(rng, 0.1 if activated else rng.uniform(5, 300)),
        },
    )


def _group_people(build: Build, principal_id: str) -> list[str]:
    if principal_id not in build.tenant.objects["groups"]:
        return []
    return list(build.tenant.links["group_members"].get(principal_id, ()))


def add_roles(build: Build, apps: AppSets, groups: GroupSets) -> None:
    """Add role assignments (active, eligible, on groups, for units and objects) and PIM groups."""
    rng = build.rng("roles")
    # Group memberships that are activated now come first: they show in the members.
    _pim_groups(build, groups)
    admins = build.cloud_staff[2:] or build.staff
    roles = [
        role_id
        for role_id in build.tenant.objects["role_definitions"]
        if role_id not in _NOT_ASSIGNED
    ]
    if not admins:
        return
    done: set[tuple[str, str, str]] = set()

    def give(role_id: str, principal_id: str, scope: str = "/", eligible: bool = False) -> None:
        key = (role_id, principal_id, scope)
        if key in done:
            return
        done.add(key)
        if eligible:
            make_eligible(build, rng, role_id, principal_id, scope)
        else:
            assign_role(build, rng, role_id, principal_id, scope, rng.random() < 0.12)

    count = min(900, 10 + len(build.members) // 120)
    for admin in admins[:2]:
        give(GLOBAL_ADMINISTRATOR, admin)
    for admin in admins[2:5]:
        give(GLOBAL_ADMINISTRATOR, admin, eligible=True)
    for _ in range(count):
        give(rng.choice(roles), rng.choice(admins), eligible=rng.random() < 0.4)
    for index, group in enumerate(groups.role_assignable):
        if index % 4 != 3:
            give(rng.choice(roles), group, eligible=index % 5 == 2)
    units = list(build.tenant.objects["administrative_units"])
    for _ in range(count // 2 if units else 0):
        scope = f"/administrativeUnits/{rng.choice(units)}"
        give(rng.choice(_UNIT_ROLES), rng.choice(admins), scope, eligible=rng.random() < 0.3)
    custom = build.known.get("role Application Credential Operator", APPLICATION_ADMINISTRATOR)
    for application in pick(rng, apps.registrations, 3 + count // 10):
        role = rng.choice((APPLICATION_ADMINISTRATOR, custom))
        give(role, rng.choice(admins), f"/{application}", eligible=rng.random() < 0.3)
    for group in pick(rng, groups.cloud_security, 2):
        give(GROUPS_ADMINISTRATOR, rng.choice(admins), f"/{group}")
    for index, principal in enumerate(pick(rng, apps.own + apps.managed, 4 + count // 20)):
        role = (DIRECTORY_READERS, EXCHANGE_ADMINISTRATOR, USER_ADMINISTRATOR)[index % 3]
        give(role, principal)
    _dangling(build, rng, admins)


def _dangling(build: Build, rng: random.Random, admins: list[str]) -> None:
    """Assignments that outlived their principal or their role, as real tenants have them."""
    deleted = [
        object_id
        for object_id, item in build.tenant.objects["deleted_items"].items()
        if item["@odata.type"].endswith(".user")
    ]
    for principal in deleted[:1]:
        assign_role(build, rng, USER_ADMINISTRATOR, principal)
    assign_role(build, rng, HELPDESK_ADMINISTRATOR, new_id(rng))
    assign_role(build, rng, new_id(rng), rng.choice(admins))


def _pim_groups(build: Build, groups: GroupSets) -> None:
    rng = build.rng("pim groups")
    admins = build.cloud_staff[2:] or build.staff
    if not admins or build.license != "p2":
        return
    members_of = build.tenant.links["group_members"]
    for index, group in enumerate(groups.role_assignable):
        if index % 2 == 0:
            members = set(members_of.get(group, ()))
            for principal in pick(rng, admins, rng.randrange(1, 5)):
                if principal not in members:
                    make_group_eligible(build, rng, group, principal)
                    if rng.random() < 0.25:
                        activate_group(build, rng, group, principal)
            for principal in sorted(members)[:3]:
                _group_instance(build, rng, group, principal, "member", activated=False)
        if index % 5 == 1:
            owner = rng.choice(admins)
            make_group_eligible(build, rng, group, owner, "owner")
    for group in groups.cloud_security[40:43]:
        make_group_eligible(build, rng, group, rng.choice(admins))
