"""This program's own applications and their owners: what no request of ours may touch.

Whoever could change them could give this program, or themselves through it, anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.reads import FactReader, Read, UnreadError


class OwnUnknownError(ProvisioningError):
    """Which objects are our own cannot be read, so that nothing can be planned."""


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
    found = _ids(reader, lists.values())
    owners = [
        f"/{kind}/{key}/owners?$select=id" for (kind, _), url in lists.items() for key in found[url]
    ]
    everything = found | _ids(reader, owners)
    return frozenset(key for ids in everything.values() for key in ids)


def _ids(reader: FactReader, urls: Iterable[str]) -> dict[str, list[str]]:
    wanted = list(urls)
    facts = reader.read(Read(url) for url in wanted)
    try:
        return {url: [str(each["id"]) for each in facts.items(url) or ()] for url in wanted}
    except UnreadError as error:
        raise OwnUnknownError(
            f"this program's own applications and their owners cannot be read ({error}): grant "
            "the reading application Application.Read.All"
        ) from None
