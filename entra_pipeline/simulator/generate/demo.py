"""The named figures of the demo and everything they can reach.

Here: the wiring of a few memorable users, groups and applications that exist in every tenant of
some size (30 users, 25 groups and 3 applications or more). Who they are and what they reach is
told in the package's docstring. Not here: their creation (`people`, `groups`, `applications`).
"""

from entra_pipeline.simulator.generate.applications import (
    DEMO_APPLICATION_NAME,
    DEMO_CONNECTOR_NAME,
    DEMO_PORTAL_NAME,
    AppSets,
)
from entra_pipeline.simulator.generate.build import Build
from entra_pipeline.simulator.generate.consents import assign, grant
from entra_pipeline.simulator.generate.first_party import GRAPH_APP_ID, GRAPH_APP_ROLES
from entra_pipeline.simulator.generate.roles import (
    APPLICATION_ADMINISTRATOR,
    CLOUD_APPLICATION_ADMINISTRATOR,
    GLOBAL_ADMINISTRATOR,
    HELPDESK_ADMINISTRATOR,
    USER_ADMINISTRATOR,
    activate_group,
    assign_role,
    make_eligible,
    make_group_eligible,
)

_OUTER = "SG-Finance-Applications"
_STAFF = "SG-Payroll-Staff"
_OPERATIONS = "SG-Payroll-Operations"
_CLERKS = "SG-Payroll-Clerks-EMEA"
_LEADS = "SG-Finance-Leads"
_APPROVERS = "SG-Payroll-Approvers"
_LOOP_A = "SG-Loop-A"
_LOOP_B = "SG-Loop-B"
_GLOBAL_ADMINS = "PAG-Global-Admins"
_APP_OPERATIONS = "PAG-Application-Operations"

DEMO_GROUPS: tuple[str, ...] = (
    _OUTER,
    _STAFF,
    _OPERATIONS,
    _CLERKS,
    _LEADS,
    _APPROVERS,
    _LOOP_A,
    _LOOP_B,
    _GLOBAL_ADMINS,
    _APP_OPERATIONS,
)
"""Display names; those that start with PAG are role-assignable."""


def has_demo(users: int, groups: int, applications: int) -> bool:
    """Whether a tenant of that size holds the demo's figures."""
    return users >= 30 and groups >= 25 and applications >= 3


def link_demo_groups(build: Build) -> None:
    """Members and owners of the demo's groups; before roles, which derive rows from members."""
    known = build.known
    rng = build.rng("demo groups")
    maya, admin, guest = known["demo user"], known["demo admin"], known["demo guest"]
    clerks = build.staff[5:9]
    for outer, inner in (
        (_OUTER, _STAFF),
        (_STAFF, _OPERATIONS),
        (_OPERATIONS, _CLERKS),
        (_OUTER, _LEADS),
        (_APPROVERS, _OPERATIONS),
        (_LOOP_A, _LOOP_B),
        (_LOOP_B, _LOOP_A),
    ):
        build.link("group_members", known[outer], [known[inner]])
    for group, members in (
        (_CLERKS, [maya, *clerks]),
        (_LEADS, [maya, build.staff[9]]),
        (_STAFF, [*build.staff[10:14], known[f"app {DEMO_PORTAL_NAME}"]]),
        (_APPROVERS, [*build.staff[14:17], guest]),
        (_LOOP_B, [maya]),
        (_GLOBAL_ADMINS, [admin]),
        (_APP_OPERATIONS, [guest, build.staff[17]]),
    ):
        build.link("group_members", known[group], members)
    build.link("group_owners", known[_APPROVERS], [maya])
    build.link("group_owners", known[_CLERKS], [maya, build.staff[6]])
    build.link("group_owners", known[_GLOBAL_ADMINS], [admin])
    make_group_eligible(build, rng, known[_GLOBAL_ADMINS], maya)
    activated = build.staff[18]
    make_group_eligible(build, rng, known[_GLOBAL_ADMINS], activated)
    activate_group(build, rng, known[_GLOBAL_ADMINS], activated)


def wire_demo(build: Build, apps: AppSets) -> None:
    """Roles, application access and consents of the demo's figures."""
    known = build.known
    rng = build.rng("demo")
    maya, admin, guest = known["demo user"], known["demo admin"], known["demo guest"]
    assign_role(build, rng, GLOBAL_ADMINISTRATOR, admin)
    assign_role(build, rng, GLOBAL_ADMINISTRATOR, known[_GLOBAL_ADMINS])
    assign_role(build, rng, APPLICATION_ADMINISTRATOR, known[_APP_OPERATIONS])
    make_eligible(build, rng, USER_ADMINISTRATOR, maya)
    make_eligible(build, rng, GLOBAL_ADMINISTRATOR, guest)
    assign_role(build, rng, CLOUD_APPLICATION_ADMINISTRATOR, guest)
    unit = known.get("Restricted Executives")
    if unit:
        assign_role(
            build, rng, HELPDESK_ADMINISTRATOR, build.staff[6], f"/administrativeUnits/{unit}"
        )
        make_eligible(build, rng, HELPDESK_ADMINISTRATOR, maya, f"/administrativeUnits/{unit}")

    payroll = known[f"app {DEMO_APPLICATION_NAME}"]
    registration = known[f"registration {DEMO_APPLICATION_NAME}"]
    roles = {
        role["value"].split(".")[1]: role["id"]
        for role in build.get("service_principals", payroll)["appRoles"]
    }
    assign(build, rng, payroll, maya, roles["Reader"])
    assign(build, rng, payroll, maya, roles["Approver"])
    assign(build, rng, payroll, known[_CLERKS], roles["Reader"])
    assign(build, rng, payroll, known[_APPROVERS], roles["Approver"])
    assign(build, rng, payroll, known[_OUTER], roles["Reader"])
    assign(build, rng, payroll, build.staff[20], roles["Admin"])
    if "Dept Finance" in known:
        assign(build, rng, payroll, known["Dept Finance"], roles["Reader"])
    build.link("service_principal_owners", payroll, [maya])
    build.link("application_owners", registration, [maya, build.staff[20]])

    graph = apps.first_party[GRAPH_APP_ID]
    connector = known[f"app {DEMO_CONNECTOR_NAME}"]
    for permission in (
        "RoleManagement.ReadWrite.Directory",
        "AppRoleAssignment.ReadWrite.All",
        "User.ReadWrite.All",
    ):
        assign(build, rng, graph, connector, GRAPH_APP_ROLES[permission])
    assign(build, rng, payroll, connector, roles["Process"])
    build.link("application_owners", known[f"registration {DEMO_CONNECTOR_NAME}"], [guest])
    portal = known[f"app {DEMO_PORTAL_NAME}"]
    grant(build, rng, portal, payroll, " Payroll.Access")
    grant(build, rng, portal, graph, " openid profile User.Read Mail.Read", maya)
