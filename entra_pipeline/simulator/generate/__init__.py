"""Random tenants that look like real ones: deterministic for their arguments.

Here: the entry point and the order in which a tenant is made. Each part has its own module. Every
name is invented; ids are random but for Microsoft's own public ones.

The demo's figures (in tenants of 30 users, 25 groups and 3 applications or more):

- **Maya Lindqvist** (`DEMO_USER_UPN`), a payroll clerk with far too much. She is in
  `SG-Payroll-Clerks-EMEA`, which is in `SG-Payroll-Operations`, in `SG-Payroll-Staff`, in
  `SG-Finance-Applications`; the last she also reaches through `SG-Finance-Leads`. She is in
  `SG-Loop-B`, which contains and is contained in `SG-Loop-A`. She holds `Payroll.Reader` both
  directly and by her group, `Payroll.Approver` directly, owns the Payroll application, its
  registration and the approvers' group, is eligible for User Administrator, for Helpdesk
  Administrator of one administrative unit, and for membership in `PAG-Global-Admins`, which holds
  Global Administrator.
- **Payroll** (`DEMO_APPLICATION_NAME`), the sensitive application: assignment required; reached by
  users, by `SG-Payroll-Clerks-EMEA`, `SG-Payroll-Approvers` (which contains a group whose members
  do not get in: Entra honours direct members only), `SG-Finance-Applications` and all of Finance,
  by a daemon's application permission and by the `HR Portal` for every user.
- **Noor Verhoeven** (`DEMO_GUEST_UPN`), a guest of Fabrikam: Cloud Application Administrator
  directly, Application Administrator through `PAG-Application-Operations`, eligible Global
  Administrator, approver in Payroll, owner of the connector's registration.
- **Legacy Provisioning Connector** (`DEMO_CONNECTOR_NAME`): may change roles and grant permissions
  in all of the tenant; one secret expired, the other ends in nine days.
- **Adm Tomas Okonjo** (`DEMO_ADMIN_UPN`): Global Administrator, directly and by a group.
"""

from datetime import datetime

from entra_pipeline.simulator.generate.activity import add_activity
from entra_pipeline.simulator.generate.applications import (
    DEMO_APPLICATION_NAME,
    DEMO_CONNECTOR_NAME,
    add_applications,
)
from entra_pipeline.simulator.generate.build import Build, default_now, new_id, stream
from entra_pipeline.simulator.generate.consents import add_consents
from entra_pipeline.simulator.generate.deleted import add_deleted
from entra_pipeline.simulator.generate.demo import (
    DEMO_GROUPS,
    has_demo,
    link_demo_groups,
    wire_demo,
)
from entra_pipeline.simulator.generate.estate import (
    add_contacts,
    add_devices,
    add_organization,
    add_units,
)
from entra_pipeline.simulator.generate.groups import add_groups
from entra_pipeline.simulator.generate.licences import add_licences
from entra_pipeline.simulator.generate.people import (
    DEMO_ADMIN_UPN,
    DEMO_GUEST_UPN,
    DEMO_USER_UPN,
    add_users,
)
from entra_pipeline.simulator.generate.policies import add_policies
from entra_pipeline.simulator.generate.roles import add_role_definitions, add_roles
from entra_pipeline.simulator.tenant import Tenant

__all__ = [
    "DEMO_ADMIN_UPN",
    "DEMO_APPLICATION_NAME",
    "DEMO_CONNECTOR_NAME",
    "DEMO_GUEST_UPN",
    "DEMO_USER_UPN",
    "LICENSES",
    "generate",
]

LICENSES = ("free", "p1", "p2")
"""Entra licences a tenant can have."""


def generate(
    users: int = 2000,
    groups: int = 600,
    applications: int | None = None,
    seed: int = 7,
    license: str = "p2",
    now: datetime | None = None,
) -> Tenant:
    """A tenant of the given size: the same arguments give the same tenant, byte for byte.

    `applications` is the number of application registrations, by default one for every 50 users,
    at least eight;
    gallery applications, managed identities and Microsoft's own service principals come on top.
    Times are relative to `now` (UTC; by default the start of the current day). Raises ValueError
    for a negative size or an unknown licence.
    """
    if license not in LICENSES:
        raise ValueError(f"license {license!r}: must be one of {', '.join(LICENSES)}")
    if applications is None:
        applications = max(users // 50, min(8, users // 5))
    for name, value in (("users", users), ("groups", groups), ("applications", applications)):
        if value < 0:
            raise ValueError(f"{name} {value}: must be 0 or more")
    tenant = Tenant(new_id(stream(seed, "tenant")))
    build = Build(seed, now or default_now(), license, tenant)
    demo = has_demo(users, groups, applications)
    add_organization(build)
    add_users(build, users)
    add_devices(build, users * 2 // 5)
    add_contacts(build, users // 50)
    apps = add_applications(build, applications)
    group_sets = add_groups(build, groups, DEMO_GROUPS if demo else ())
    if demo:
        link_demo_groups(build)
    add_units(build, min(60, users // 100 + 4) if users else 0)
    add_role_definitions(build)
    add_deleted(build)
    add_roles(build, apps, group_sets)
    add_consents(build, apps, group_sets)
    if demo:
        wire_demo(build, apps)
    add_licences(build, group_sets)
    add_activity(build)
    add_policies(build, group_sets)
    return tenant
