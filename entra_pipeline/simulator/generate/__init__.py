"""Random tenants that look like real ones: deterministic for their arguments.

Here: the entry point and the order in which a tenant is made. Each part has its own module.
"""

from datetime import datetime

from entra_pipeline.simulator.generate.build import (
    Build,
    default_now,
    new_id,
    stream,
)
from entra_pipeline.simulator.generate.groups import add_groups
from entra_pipeline.simulator.generate.people import (
    DEMO_ADMIN_UPN,
    DEMO_GUEST_UPN,
    DEMO_USER_UPN,
    add_users,
)
from entra_pipeline.simulator.tenant import Tenant

__all__ = [
    "DEMO_ADMIN_UPN",
    "DEMO_APPLICATION_NAME",
    "DEMO_GUEST_UPN",
    "DEMO_USER_UPN",
    "generate",
]

DEMO_APPLICATION_NAME = "Payroll"
LICENSES = ("free", "p1", "p2")


def generate(
    users: int = 2000,
    groups: int = 600,
    applications: int | None = None,
    seed: int = 7,
    license: str = "p2",
    now: datetime | None = None,
) -> Tenant:
    """A tenant of the given size: the same arguments give the same tenant, byte for byte."""
    if license not in LICENSES:
        raise ValueError(f"license {license!r}: must be one of {', '.join(LICENSES)}")
    for name, value in (("users", users), ("groups", groups), ("applications", applications)):
        if value is not None and value < 0:
            raise ValueError(f"{name} {value}: must be 0 or more")
    tenant = Tenant(new_id(stream(seed, "tenant")))
    build = Build(seed, now or default_now(), license, tenant)
    add_users(build, users)
    add_groups(build, groups)
    return tenant
