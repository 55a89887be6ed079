"""Privileged tiers: the table, and the judgement of roles that it does not know."""

import uuid

from entra_pipeline.tables.tiers import (
    _PERMISSIONS,
    _ROLES,
    EXCHANGE_ONLINE,
    MICROSOFT_GRAPH,
    permission_tier,
    role_tier,
)

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
DIRECTORY_READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"


def test_roles_are_known_by_their_template_whatever_the_case() -> None:
    assert role_tier(GLOBAL_ADMINISTRATOR) == 0
    assert role_tier(GLOBAL_ADMINISTRATOR.upper()) == 0
    assert role_tier("729827e3-9c14-49f7-bb1b-9608f156bbb8") == 1  # Helpdesk Administrator
    assert role_tier("644ef478-e28f-4e28-b9dc-3fdde9aa0b1f") == 2  # Printer Administrator


def test_known_unprivileged_roles_are_not_judged_by_their_actions() -> None:
    assert role_tier(DIRECTORY_READERS, ["microsoft.directory/groups/create"]) is None


def test_custom_roles_are_judged_by_the_most_powerful_action_that_changes_something() -> None:
    custom = str(uuid.uuid4())
    assert role_tier(custom, []) is None
    assert role_tier(custom, ["microsoft.directory/roleAssignments/standard/read"]) is None
    assert role_tier(custom, ["microsoft.directory/applications/basic/update"]) == 2
    assert (
        role_tier(
            custom,
            [
                "microsoft.directory/applications/basic/update",
                "microsoft.directory/applications/credentials/update",
            ],
        )
        == 0
    )
    assert role_tier(custom, ["microsoft.directory/groups.security/members/update"]) == 1
    assert role_tier(None, ["microsoft.directory/users/password/update"]) == 1


def test_permissions_count_only_for_the_api_that_offers_them() -> None:
    assert permission_tier(MICROSOFT_GRAPH, "RoleManagement.ReadWrite.Directory") == 0
    assert permission_tier(str(uuid.uuid4()), "RoleManagement.ReadWrite.Directory") is None
    assert permission_tier(EXCHANGE_ONLINE, "full_access_as_app") == 1
    assert permission_tier(MICROSOFT_GRAPH, None) is None


def test_writing_permissions_that_the_table_does_not_name_are_tier_two() -> None:
    assert permission_tier(MICROSOFT_GRAPH, "Something.New.ReadWrite.All") == 2
    assert permission_tier(MICROSOFT_GRAPH, "Something.New.Read.All") is None


def test_delegated_permissions_count_one_tier_lower_than_applications() -> None:
    assert permission_tier(MICROSOFT_GRAPH, "AppRoleAssignment.ReadWrite.All", delegated=True) == 1
    assert permission_tier(MICROSOFT_GRAPH, "Mail.Read", delegated=True) == 2
    assert permission_tier(MICROSOFT_GRAPH, "Directory.AccessAsUser.All", delegated=True) == 1
    assert permission_tier(MICROSOFT_GRAPH, "Something.New.ReadWrite.All", delegated=True) is None


def test_ids_in_the_table_are_well_formed_and_tiers_are_of_the_scale() -> None:
    for template in (*_ROLES, *_PERMISSIONS):
        assert str(uuid.UUID(template)) == template
    tiers = {*_ROLES.values(), *(t for table in _PERMISSIONS.values() for t in table.values())}
    assert tiers == {0, 1, 2, None}
