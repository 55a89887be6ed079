"""Changes to the tenant: asked for, planned, approved, carried out once, confirmed, taken back.

request -> plan -> approval -> operation -> attempt -> verification. Each is a value that can be
printed and compared; nothing here needs an orchestrator.

What programs need is to be had from here, and loaded when it is asked for:

    from entra_pipeline.provisioning import Grant, GroupAccess, Provisioning, Request
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from entra_pipeline.provisioning.errors import ProvisioningError
    from entra_pipeline.provisioning.identities import os_user
    from entra_pipeline.provisioning.planning import Refusal
    from entra_pipeline.provisioning.plans import Plan
    from entra_pipeline.provisioning.policy import Policy
    from entra_pipeline.provisioning.service import Carried, NotApprovedError, Provisioning
    from entra_pipeline.provisioning.states import OperationState, RequestState
    from entra_pipeline.provisioning.values import (
        AppAccess,
        Grant,
        GroupAccess,
        Identity,
        LicenseAccess,
        Mode,
        Request,
        Revoke,
        RoleAccess,
    )

__all__ = [
    "AppAccess",
    "Carried",
    "Grant",
    "GroupAccess",
    "Identity",
    "LicenseAccess",
    "Mode",
    "NotApprovedError",
    "OperationState",
    "Plan",
    "Policy",
    "Provisioning",
    "ProvisioningError",
    "Refusal",
    "Request",
    "RequestState",
    "Revoke",
    "RoleAccess",
    "os_user",
]

_HOMES: Final = {
    "errors": ("ProvisioningError",),
    "identities": ("os_user",),
    "planning": ("Refusal",),
    "plans": ("Plan",),
    "policy": ("Policy",),
    "service": ("Carried", "NotApprovedError", "Provisioning"),
    "states": ("OperationState", "RequestState"),
}


def __getattr__(name: str) -> Any:
    """What is asked for by name, from the module that it lives in."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "values")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
