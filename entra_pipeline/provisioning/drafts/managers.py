"""Finding somebody by object id, user principal name or employee id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from entra_pipeline.provisioning.actions.accounts import account_url
from entra_pipeline.provisioning.actions.base import quoted
from entra_pipeline.provisioning.reads import Facts, Read

_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def manager_reads(named: str | None) -> Sequence[Read]:
    """What tells who is meant."""
    return (Read(_url(named.strip())),) if named and named.strip() else ()


def resolved(named: str, facts: Facts) -> tuple[str | None, str | None]:
    """The object id of who is meant; or none, and why. UnreadError when that is unknown."""
    url = _url(named.strip())
    if not _by_employee_id(named.strip()):
        found = facts.document(url)
        if found is None:
            return None, "the manager is not found"
        return str(found["id"]), None
    rows = facts.items(url) or []
    if len(rows) == 1:
        return str(rows[0]["id"]), None
    if not rows:
        return None, "nobody has the manager's employee id"
    return None, "several people have the manager's employee id"


def _by_employee_id(named: str) -> bool:
    return "@" not in named and not _GUID.fullmatch(named.lower())


def _url(named: str) -> str:
    if _by_employee_id(named):
        return f"/users?$filter=employeeId eq '{quoted(named)}'&$select=id"
    return account_url(named)
