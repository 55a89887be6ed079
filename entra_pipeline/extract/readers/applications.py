"""Application registrations, their owners and credentials.

Here: `/applications`. Not here: service principals (`service_principals`), which share nothing
but the appId.
"""

from collections.abc import Iterable
from typing import TypeAlias

import pyarrow as pa

from entra_pipeline.extract import increments, mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import DoubtError
from entra_pipeline.extract.followed import FEDERATED, FEDERATION, SECRETS
from entra_pipeline.extract.job import Amendment, Job, Partial, Reader
from entra_pipeline.extract.nested import link_rows, read_each, relation, split
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.readers.lists import distinct
from entra_pipeline.extract.source import PAGE, Listing
from entra_pipeline.msgraph import Service

_TEXT = pa.string()
_OWNERS = {"applications": "application", "service_principals": "service_principal"}
"""Tables whose objects have credentials, and what these call them."""

_Page: TypeAlias = tuple[pa.RecordBatch, pa.RecordBatch, list[str], list[pa.RecordBatch]]
"""Applications, the owners shown, ids of those with more owners, credentials."""


def secrets(job: Job, items: Structs, owner_kind: str) -> list[pa.RecordBatch]:
    """Rows of `credentials` from the passwords and certificates of a page's objects."""
    batches = []
    for name, kind in (("passwordCredentials", "password"), ("keyCredentials", "certificate")):
        found, owners = mapping.children(items, name)
        batches.append(_credentials(job, found, owners, owner_kind, kind))
    return batches


def _credentials(
    job: Job, found: Structs, owners: Array, owner_kind: str, kind: str
) -> pa.RecordBatch:
    table = job.table("credentials")
    columns: dict[str, Array] = {
        "owner_id": owners,
        "owner_kind": pa.array([owner_kind] * len(found), _TEXT),
        "kind": pa.array([kind] * len(found), _TEXT),
    }
    paths = {
        "key_id": "id" if kind == "federated" else "keyId",
        "display_name": "name" if kind == "federated" else "displayName",
        "start_date_time": "startDateTime",
        "end_date_time": "endDateTime",
        "type": "type",
        "usage": "usage",
        "custom_key_identifier": "customKeyIdentifier",
        "issuer": "issuer",
        "subject": "subject",
        "audiences": "audiences",
    }
    for column, path in paths.items():
        if found.type.get_field_index(path) >= 0:
            columns[column] = pc.struct_field(found, path)
    return mapping.rows(table, found, job.notes("credentials"), columns)


def _changed(job: Job) -> list[Amendment]:
    feed = "applications"
    found = job.round(feed)
    changed: list[Amendment] = []
    if job.wants("application_owners"):
        touched = pa.concat_arrays([found.ids, job.hinted("application_owners")])
        back = {"users": "ownedObjects", "service_principals": "ownedObjects"}
        changed.append(
            increments.unannounced(job, "application_owners", feed, "owners", back, touched)
        )
    rows = mapping.rows(job.table(feed), found.items, job.notes(feed))
    return [*changed, increments.objects(job, feed, found, rows)]


def _applications(job: Job) -> None:
    if job.by_changes(_changed) or is_spared(job):
        # The credentials, if they are read in full, then list for themselves.
        job.facts.give("applications.credentials", None)
        return
    table, owners = job.table("applications"), job.table("application_owners")
    notes, owner_notes = job.notes("applications"), job.notes("application_owners")
    credentials = job.wants("credentials")
    # Taken now, whichever reader is first: what changes from here on is told again.
    job.feeds.bookmark(["credentials"], job.notes("credentials"), job.priority)
    listing = Listing(
        table.path,
        {
            "$select": mapping.select(table, *(SECRETS if credentials else ())),
            "$top": PAGE,
            "$expand": "owners($select=id)",
        },
        PageParser(
            mapping.shape(table, {"owners": mapping.LINKS, **(SECRETS if credentials else {})})
        ),
        job.label("applications", "application_owners"),
        # Selecting keyCredentials brings a limit of its own: 150 requests a minute.
        # Source: https://learn.microsoft.com/graph/api/application-list
        service=Service.KEY_CREDENTIALS if credentials else Service.DIRECTORY,
        priority=job.priority,
    )

    def convert(items: Structs) -> _Page:
        found = split(items, "owners")
        return (
            mapping.rows(table, items, notes),
            link_rows(owners, found.owners, found.items, owner_notes),
            found.cut.to_pylist(),
            secrets(job, items, "application") if credentials else [],
        )

    def arrived(page: _Page) -> None:
        job.counted("applications", page[0].num_rows)
        job.counted("application_owners", page[1].num_rows)

    size = distinct("id")
    pages = job.source.read_counted(
        listing, notes, convert, lambda pages: size([page[0] for page in pages]), arrived=arrived
    )
    job.believe("applications", sum(page[0].num_rows for page in pages))
    job.facts.give("applications.credentials", [batch for page in pages for batch in page[3]])
    job.publish("applications", [page[0] for page in pages])
    if job.wants("application_owners"):
        relation(
            job,
            "application_owners",
            [page[1] for page in pages],
            (key for page in pages for key in page[2]),
            lambda key: f"/applications/{key}/owners?$select=id&$top={PAGE}",
            PageParser(mapping.LINK),
            lambda ids, items: link_rows(owners, ids, items, owner_notes),
        )


def is_spared(job: Job) -> bool:
    """Whether a reader that only runs for the credentials' sake need not: they go by changes."""
    return not job.wants(*job.reader.tables) and job.feeds.can(["credentials"])


def _changed_credentials(job: Job) -> list[Amendment]:
    """All credentials of the objects that changed; and the federated ones that hints point at."""
    name = "credentials"
    batches: list[pa.RecordBatch] = []
    touched: list[Array] = []
    for feed, kind in _OWNERS.items():
        found = job.round(feed)
        for secret in SECRETS:
            increments.said(job, name, "owner_id", found.ids, pc.struct_field(found.items, secret))
        batches += secrets(job, found.items, kind)
        touched += [found.ids, found.removed]
    known = pa.concat_arrays(touched)
    hinted = job.hinted(name).filter(pc.invert(pc.is_in(job.hinted(name), value_set=known)))
    # Passwords and certificates are told by the feeds: those of the others stay as they are.
    kept = increments.stored(job, name, "owner_id", hinted)
    kept = kept.filter(pc.not_equal(kept.column("kind"), "federated"))
    read, partial = _read_federated(
        job, [*job.round("applications").ids.to_pylist(), *hinted.to_pylist()]
    )
    if partial is not None:
        raise DoubtError(partial.reason)
    rows = pa.Table.from_batches([*batches, *read], schema=job.table(name).schema())
    within = pa.concat_arrays([known, hinted])
    return [
        Amendment(
            name,
            pa.concat_tables([kept, rows]),
            within=("owner_id", within) if len(within) else None,
        )
    ]


def _all_credentials(job: Job) -> None:
    """Credentials of both kinds of owner, and the federated ones, which no listing selects."""
    if job.by_changes(_changed_credentials):
        return
    federated, partial = _federated(job)
    batches: list[pa.RecordBatch] = []
    for source in _OWNERS:
        given = job.fact(f"{source}.credentials")
        batches += _secrets_alone(job, source) if given is None else given
    job.publish("credentials", [*batches, *federated], partial=partial)


def _federated(job: Job) -> tuple[list[pa.RecordBatch], Partial | None]:
    notes = job.notes("credentials")
    listing = Listing(
        "/applications",
        {"$select": "id", "$top": PAGE, "$expand": FEDERATED},
        PageParser(pa.struct([("id", _TEXT), (FEDERATED, pa.list_(FEDERATION))])),
        job.label("credentials"),
        priority=job.priority,
    )

    def convert(items: Structs) -> tuple[pa.RecordBatch, list[str]]:
        found = split(items, FEDERATED)
        rows = _credentials(job, found.items, found.owners, "application", "federated")
        return rows, found.cut.to_pylist()

    pages = job.source.read_listed(
        listing, notes, convert, lambda page: job.counted("credentials", page[0].num_rows)
    )
    read, partial = _read_federated(job, (key for page in pages for key in page[1]))
    return [*(page[0] for page in pages), *read], partial


def _read_federated(
    job: Job, applications: Iterable[str]
) -> tuple[list[pa.RecordBatch], Partial | None]:
    return read_each(
        job,
        "credentials",
        PageParser(FEDERATION),
        ((key, f"/applications/{key}/{FEDERATED}?$top={PAGE}") for key in applications),
        lambda ids, items: _credentials(job, items, ids, "application", "federated"),
    )


def _secrets_alone(job: Job, source: str) -> list[pa.RecordBatch]:
    """Passwords and certificates by a listing of their owners that says nothing else."""
    listing = Listing(
        job.table(source).path,
        {"$select": ",".join(("id", *SECRETS)), "$top": PAGE},
        PageParser(pa.struct([("id", _TEXT), *SECRETS.items()])),
        job.label("credentials"),
        service=Service.KEY_CREDENTIALS,
        priority=job.priority,
    )
    pages = job.source.read_listed(
        listing, job.notes("credentials"), lambda items: secrets(job, items, _OWNERS[source])
    )
    return [batch for page in pages for batch in page]


READERS = (
    Reader(
        "applications",
        ("applications", "application_owners"),
        _applications,
        gives=("applications.credentials",),
        priority=4,
    ),
    Reader(
        "credentials",
        ("credentials",),
        _all_credentials,
        needs=("applications", "service_principals"),
    ),
)
