"""Application registrations, their owners and credentials.

Here: `/applications`. Not here: service principals (`service_principals`), which share nothing
but the appId.
"""

from typing import TypeAlias

import pyarrow as pa

from entra_pipeline.extract import mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.job import Job, Partial, Reader
from entra_pipeline.extract.nested import link_rows, read_each, relation, split
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.readers.lists import distinct
from entra_pipeline.extract.source import PAGE, Listing
from entra_pipeline.msgraph import Service

SECRETS = ("passwordCredentials", "keyCredentials")
FEDERATED = "federatedIdentityCredentials"

_TEXT = pa.string()
PASSWORD = pa.struct(
    [(name, _TEXT) for name in ("keyId", "displayName", "startDateTime", "endDateTime")]
)
KEY = pa.struct(
    [
        (name, _TEXT)
        for name in (
            "keyId",
            "displayName",
            "startDateTime",
            "endDateTime",
            "type",
            "usage",
            "customKeyIdentifier",
        )
    ]
)
FEDERATION = pa.struct(
    [
        *((name, _TEXT) for name in ("id", "name", "issuer", "subject")),
        ("audiences", pa.list_(_TEXT)),
    ]
)
SECRET_TYPES: dict[str, pa.DataType] = {
    "passwordCredentials": pa.list_(PASSWORD),
    "keyCredentials": pa.list_(KEY),
}


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


def _applications(job: Job) -> None:
    table, owners = job.table("applications"), job.table("application_owners")
    notes, owner_notes = job.notes("applications"), job.notes("application_owners")
    credentials = job.wants("credentials")
    listing = Listing(
        table.path,
        {
            "$select": mapping.select(table, *(SECRETS if credentials else ())),
            "$top": PAGE,
            "$expand": "owners($select=id)",
        },
        PageParser(
            mapping.shape(table, {"owners": mapping.LINKS, **(SECRET_TYPES if credentials else {})})
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


def _all_credentials(job: Job) -> None:
    """Credentials of both kinds of owner, and the federated ones, which no listing selects."""
    federated, partial = _federated(job)
    batches: list[pa.RecordBatch] = []
    for source in ("applications", "service_principals"):
        batches += job.fact(f"{source}.credentials")
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
    read, partial = read_each(
        job,
        "credentials",
        PageParser(FEDERATION),
        (
            (key, f"/applications/{key}/{FEDERATED}?$top={PAGE}")
            for page in pages
            for key in page[1]
        ),
        lambda ids, items: _credentials(job, items, ids, "application", "federated"),
    )
    return [*(page[0] for page in pages), *read], partial


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
