"""Live facts: documents of Graph that plans rest on, many in one round trip.

Here: asking for documents and lists by their addresses, each once, whole or not at all. Not here:
what they mean for an operation (`actions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from entra_pipeline.exchange.answers import not_configured
from entra_pipeline.msgraph import BatchItem, GraphClient, GraphError, Service
from entra_pipeline.msgraph.batch import MAX_ITEMS
from entra_pipeline.msgraph.errors import NotFoundError

if TYPE_CHECKING:
    from entra_pipeline.exchange import ExchangeClient

_AT_ONCE: Final = 4
"""Round trips under way at once: writes wait for reads, and these for Graph."""


@dataclass(frozen=True)
class Read:
    """A document or list of Graph: its address, relative to the version root.

    Of Exchange (`service`): `<command>?<parameter>=<object id>`, and the rows are a list.
    """

    url: str
    service: Service = Service.DIRECTORY


LISTED: Final[Mapping[str, Mapping[str, Any]]] = {
    "Get-DistributionGroup?Identity": {"IncludeManagedByWithDisplayNames": True},
    "Get-DistributionGroup?ManagedBy": {"ResultSize": "Unlimited"},
    "Get-DistributionGroupMember?Identity": {"ResultSize": "Unlimited"},
}
"""Commands of Exchange that facts are read by, and which parameter the object's id is; with the
other parameters."""


class UnreadError(Exception):
    """A fact could not be read: it is unknown, which is not absence. `error` says why."""

    def __init__(self, url: str, error: GraphError) -> None:
        super().__init__(str(error))
        self.url = url
        self.error = error


@dataclass(frozen=True)
class Facts:
    """What was read, by address. A value of None: Graph says that it does not exist."""

    documents: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, GraphError] = field(default_factory=dict)

    def __or__(self, others: Facts) -> Facts:
        return Facts({**self.documents, **others.documents}, {**self.errors, **others.errors})

    def document(self, url: str) -> dict[str, Any] | None:
        """One object; None when it does not exist. UnreadError when that is unknown."""
        if url in self.errors:
            raise UnreadError(url, self.errors[url])
        found: dict[str, Any] | None = self.documents[url]
        return found

    def items(self, url: str) -> list[dict[str, Any]] | None:
        """All items of a list; None when what it belongs to does not exist."""
        found = self.document(url)
        return None if found is None else found["value"]


SEGMENTS: Final = {
    "user": "users",
    "group": "groups",
    "serviceprincipal": "servicePrincipals",
    "device": "devices",
    "orgcontact": "contacts",
}
"""Kind of object, as its `@odata.type` ends, lower case -> where Graph has such objects."""


def principal_url(principal_id: str) -> str:
    """The address that tells what kind of object an id is."""
    return f"/directoryObjects/{principal_id}?$select=id"


def kind_of_object(document: Mapping[str, Any] | None) -> str:
    """`user`, `group`, `serviceprincipal`, …; empty when it is not told."""
    return str((document or {}).get("@odata.type", "")).rpartition(".")[2].lower()


class FactReader:
    """Reads through a client, counted for `table`."""

    def __init__(
        self,
        client: GraphClient,
        table: str = "provisioning",
        exchange: ExchangeClient | None = None,
    ) -> None:
        self._client = client
        self._table = table
        self._exchange = exchange

    def read(self, reads: Iterable[Read]) -> Facts:
        """Every address once. Never raises for what Graph answers: the facts say it."""
        by_service: dict[Service, list[str]] = {}
        for read in dict.fromkeys(reads):
            by_service.setdefault(read.service, []).append(read.url)
        parts = [(part, service) for service, urls in by_service.items() for part in _parts(urls)]
        if len(parts) < 2:
            found = [self._some(*part) for part in parts]
        else:
            with ThreadPoolExecutor(min(_AT_ONCE, len(parts))) as pool:
                found = list(pool.map(lambda part: self._some(*part), parts))
        documents: dict[str, Any] = {}
        errors: dict[str, GraphError] = {}
        for each in found:
            documents.update(each.documents)
            errors.update(each.errors)
        return Facts(documents, errors)

    def _lists(self, urls: list[str]) -> Facts:
        """What Exchange says; without a client for it, nothing is known."""
        documents: dict[str, Any] = {}
        errors: dict[str, GraphError] = {}
        for url in urls:
            asked, _, identity = url.partition("=")
            command, _, by = asked.partition("?")
            try:
                if self._exchange is None:
                    raise not_configured()
                more = LISTED[asked]
                rows = self._exchange.of(command, identity, more, table=self._table, by=by)
                documents[url] = {"value": rows}
            except NotFoundError:
                documents[url] = None
            except GraphError as error:
                errors[url] = error
        return Facts(documents, errors)

    def _some(self, urls: list[str], service: Service) -> Facts:
        if service is Service.EXCHANGE:
            return self._lists(urls)
        documents: dict[str, Any] = {}
        errors: dict[str, GraphError] = {}
        items = [BatchItem(str(place), url) for place, url in enumerate(urls)]
        try:
            results = self._client.batch(items, table=self._table, service=service)
        except GraphError as error:
            return Facts(errors=dict.fromkeys(urls, error))
        for url, result in zip(urls, results, strict=True):
            if isinstance(result.error, NotFoundError):
                documents[url] = None
            elif result.error is not None:
                errors[url] = result.error
            else:
                try:
                    documents[url] = self._whole(msgspec.json.decode(result.body), service)
                except GraphError as error:
                    errors[url] = error
        return Facts(documents, errors)

    def _whole(self, document: Any, service: Service) -> Any:
        link = document.get("@odata.nextLink")
        if link is None:
            return document
        items = list(document["value"])
        for page in self._client.pages(link, table=self._table, service=service):
            items += msgspec.json.decode(page.body)["value"]
        return {"value": items}


def _parts(urls: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(urls), MAX_ITEMS):
        yield urls[start : start + MAX_ITEMS]
