"""What no request of ours may touch whatever the policy says.

This program's own applications and their owners: whoever could change them could give this program,
or themselves through it, anything. And the accounts that synchronize the directory: without one of
them nothing comes from on premises any more, and nobody here would know why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.reads import FactReader, Read, UnreadError

_SYNCHRONIZING: Final = (
    "d29b2b05-8046-44ba-8758-1e26182fcf32",  # Directory Synchronization Accounts
    "a92aed5d-d78a-4d16-b381-09adb37eb3b0",  # On Premises Directory Sync Account
)
"""Source: https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference"""

_OWN: Final = ("this program's own applications and their owners", "Application.Read.All")


class OwnUnknownError(ProvisioningError):
    """Which objects nothing may touch cannot be read, so that nothing can be planned."""


def objects(reader: FactReader, client_ids: Iterable[str]) -> frozenset[str]:
    """Object ids of the applications, their service principals, and the owners of both.

    Raises OwnUnknownError when one cannot be read: unknown is not none.
    """
    kinds = ("applications", "servicePrincipals")
    lists = {
        (kind, client_id): f"/{kind}?$filter=appId eq '{client_id}'&$select=id"
        for client_id in sorted(set(client_ids))
        for kind in kinds
    }
    found = _ids(reader, lists.values(), "id", *_OWN)
    owners = [
        f"/{kind}/{key}/owners?$select=id" for (kind, _), url in lists.items() for key in found[url]
    ]
    everything = found | _ids(reader, owners, "id", *_OWN)
    return frozenset(key for ids in everything.values() for key in ids)


def synchronizing(reader: FactReader) -> frozenset[str]:
    """Object ids of what holds a role for synchronizing the directory.

    Raises OwnUnknownError when that cannot be read.
    """
    urls = [
        f"/roleManagement/directory/roleAssignments?$filter=roleDefinitionId eq '{role}'"
        for role in _SYNCHRONIZING
    ]
    what = "which accounts synchronize the directory"
    found = _ids(reader, urls, "principalId", what, "RoleManagement.Read.Directory")
    return frozenset(key for ids in found.values() for key in ids)


def _ids(
    reader: FactReader, urls: Iterable[str], name: str, what: str, permission: str
) -> dict[str, list[str]]:
    wanted = list(urls)
    facts = reader.read(Read(url) for url in wanted)
    try:
        return {url: [str(each[name]) for each in facts.items(url) or ()] for url in wanted}
    except UnreadError as error:
        raise OwnUnknownError(
            f"{what} cannot be read ({error}): grant the reading application {permission}"
        ) from None
