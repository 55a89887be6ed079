"""Listings with one relation beside: group owners, administrative units, devices.

Here: tables that share one listing with `$expand`. Not here: applications and service principals,
whose listings carry more, and members of groups, which need more care.
"""

from dataclasses import dataclass

import pyarrow as pa

from entra_pipeline.extract import increments, mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import DoubtError
from entra_pipeline.extract.followed import FOLLOWED
from entra_pipeline.extract.job import Amendment, Job, Partial, Reader
from entra_pipeline.extract.nested import link_rows, relation, split
from entra_pipeline.extract.notes import DROPPED_BY_SETTING
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.readers.lists import distinct
from entra_pipeline.extract.source import PAGE, Listing

HIDDEN = "Member.Read.Hidden"


@dataclass(frozen=True)
class Related:
    """A table of objects, a table of what they are related to, and the relationship between."""

    objects: str
    links: str
    relationship: str
    counted: bool = False


UNITS = Related("administrative_units", "administrative_unit_members", "members")
DEVICES = Related("devices", "device_owners", "registeredOwners", counted=True)


def read_related(job: Job, related: Related) -> None:
    """Read objects with a relation by one listing, and relations that it cuts off one by one."""
    table, links = job.table(related.objects), job.table(related.links)
    notes, link_notes = job.notes(related.objects), job.notes(related.links)
    params = {"$select": mapping.select(table), "$top": PAGE}
    further: dict[str, pa.DataType] = {}
    if job.wants(related.links):
        params["$expand"] = f"{related.relationship}($select=id)"
        further[related.relationship] = mapping.LINKS
    listing = Listing(
        table.path,
        params,
        PageParser(mapping.shape(table, further)),
        job.label(related.objects, related.links),
        priority=job.priority,
    )

    def convert(items: Structs) -> tuple[pa.RecordBatch, pa.RecordBatch | None, list[str]]:
        rows = mapping.rows(table, items, notes)
        if not further:
            return rows, None, []
        found = split(items, related.relationship)
        shown = link_rows(links, found.owners, found.items, link_notes)
        return rows, shown, found.cut.to_pylist()

    def arrived(page: tuple[pa.RecordBatch, pa.RecordBatch | None, list[str]]) -> None:
        job.counted(related.objects, page[0].num_rows)
        if page[1] is not None:
            job.counted(related.links, page[1].num_rows)

    if related.counted:
        size = distinct("id")
        pages = job.source.read_counted(
            listing,
            notes,
            convert,
            lambda pages: size([page[0] for page in pages]),
            arrived=arrived,
        )
    else:
        pages = job.source.read(listing, notes, convert, arrived)
    job.believe(related.objects, sum(page[0].num_rows for page in pages))
    job.publish(related.objects, [page[0] for page in pages])
    if further:
        _publish_links(job, related, pages)


def _publish_links(
    job: Job,
    related: Related,
    pages: list[tuple[pa.RecordBatch, pa.RecordBatch | None, list[str]]],
) -> None:
    table, links = job.table(related.objects), job.table(related.links)
    hidden = None
    if related is UNITS:
        units = pa.Table.from_batches([page[0] for page in pages], schema=table.schema())
        hidden = hidden_members(job, units.column("visibility"))
    relation(
        job,
        related.links,
        [page[1] for page in pages if page[1] is not None],
        (key for page in pages for key in page[2]),
        lambda key: f"{table.path}/{key}/{related.relationship}?$select=id&$top={PAGE}",
        PageParser(mapping.LINK),
        lambda owners, items: link_rows(links, owners, items, job.notes(related.links)),
        hidden,
    )


def hidden_members(job: Job, visibility: Array) -> Partial | None:
    """Why members are missing although nothing was refused; None when they are not.

    Groups and units of hidden membership look empty to an application without the permission.
    Source: https://learn.microsoft.com/graph/api/group-list-members#permissions
    """
    count = pc.sum(pc.equal(visibility, "HiddenMembership")).as_py() or 0
    if not count or job.granted(HIDDEN):
        return None
    return Partial(f"{count} with hidden membership look empty without {HIDDEN}", HIDDEN)


def _changed_units(job: Job) -> list[Amendment]:
    feed = "administrative_units"
    name = "administrative_unit_members"
    principals = [each for each in FOLLOWED[name] if each != feed]
    members: list[Amendment] = []
    if job.wants(name):
        members.append(increments.relation(job, name, feed, "members", "memberOf", principals))
    found = job.round(feed)
    rows = mapping.rows(job.table(feed), found.items, job.notes(feed))
    if (hidden := hidden_members(job, rows.column("visibility"))) is not None:
        raise DoubtError(hidden.reason)
    return [*members, increments.objects(job, feed, found, rows)]


def _units(job: Job) -> None:
    if job.by_changes(_changed_units):
        return
    read_related(job, UNITS)


def _changed_devices(job: Job) -> list[Amendment]:
    feed = "devices"
    found = job.round(feed)
    changed: list[Amendment] = []
    if job.wants("device_owners"):
        # Devices change all day long; only these may have got or lost owners.
        touched = pa.concat_arrays([job.fresh(feed), job.hinted("device_owners")])
        back = {"users": "ownedDevices"}
        changed.append(
            increments.unannounced(job, "device_owners", feed, "registeredOwners", back, touched)
        )
    rows = mapping.rows(job.table(feed), found.items, job.notes(feed))
    return [*changed, increments.objects(job, feed, found, rows)]


def _devices(job: Job) -> None:
    if job.by_changes(_changed_devices):
        return
    read_related(job, DEVICES)


def _changed_owners(job: Job) -> list[Amendment]:
    principals = FOLLOWED["group_owners"]
    owners = [name for name in principals if name != "groups"]  # a group owns none
    return [increments.relation(job, "group_owners", "groups", "owners", "ownedObjects", owners)]


def _group_owners(job: Job) -> None:
    if job.by_changes(_changed_owners):
        return
    # A second listing: Graph documents one $expand a request for directory objects, and the
    # first is taken by the members.
    # Source: https://learn.microsoft.com/graph/known-issues#some-limitations-apply-to-query-parameters
    table = job.table("group_owners")
    notes = job.notes("group_owners")
    skip = job.settings.skip_ad_groups
    listing = Listing(
        "/groups",
        {
            "$select": "id,onPremisesSyncEnabled" if skip else "id",
            "$top": PAGE,
            "$expand": "owners($select=id)",
        },
        PageParser(
            pa.struct(
                [
                    ("id", pa.string()),
                    ("onPremisesSyncEnabled", pa.bool_()),
                    ("owners", mapping.LINKS),
                ]
            )
        ),
        job.label("group_owners"),
        priority=job.priority,
    )

    def convert(items: Structs) -> tuple[pa.RecordBatch, list[str]]:
        if skip:
            kept = without_synced(items)
            notes.add(DROPPED_BY_SETTING, len(items) - len(kept))
            items = kept
        found = split(items, "owners")
        return link_rows(table, found.owners, found.items, notes), found.cut.to_pylist()

    pages = job.source.read_listed(
        listing, notes, convert, lambda page: job.counted("group_owners", page[0].num_rows)
    )
    relation(
        job,
        "group_owners",
        [page[0] for page in pages],
        (key for page in pages for key in page[1]),
        lambda key: f"/groups/{key}/owners?$select=id&$top={PAGE}",
        PageParser(mapping.LINK),
        lambda owners, items: link_rows(table, owners, items, notes),
    )


def without_synced(objects: Structs) -> Structs:
    """The objects that are not synced from a local directory now."""
    synced = pc.struct_field(objects, "onPremisesSyncEnabled").fill_null(False)
    return objects.filter(pc.invert(synced))


READERS = (
    Reader("group_owners", ("group_owners",), _group_owners, priority=3),
    Reader("administrative_units", ("administrative_units", "administrative_unit_members"), _units),
    Reader("devices", ("devices", "device_owners"), _devices, priority=4),
)
