"""Users, and what comes with their pages: managers and licences.

Here: `/users` and its reports. Not here: registration details' neighbours in reports that are
streams (sign-ins, audits).
"""

import pyarrow as pa

from entra_pipeline.extract import increments, mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.followed import LICENSES as STATES
from entra_pipeline.extract.job import Amendment, Job, Reader
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.readers.lists import distinct, read_list
from entra_pipeline.extract.source import PAGE, Listing
from entra_pipeline.msgraph import Service

EXTENSION_ATTRIBUTES = "on_premises_extension_attributes"
REPEATED = frozenset(
    {
        "user_type",
        "creation_type",
        "external_user_state",
        "manager_id",
        "employee_type",
        "department",
        "company_name",
        "job_title",
        "city",
        "state",
        "country",
        "usage_location",
        "preferred_language",
        "on_premises_domain_name",
        "password_policies",
    }
)
REPEATED_LICENSES = frozenset({"sku_id", "source_group_id", "state", "error"})
"""Columns whose values repeat within a page; encoded, users take a fifth less memory."""


def _changed(job: Job) -> list[Amendment]:
    """The changed users, those who are gone, and those whose manager came or went."""
    users = job.table("users")
    found = job.round("users")
    states = pc.struct_field(found.items, STATES)
    increments.said(job, "license_assignments", "user_id", found.ids, states)
    nobody = pa.nulls(len(found.items), pa.string())
    rows = mapping.rows(users, found.items, job.notes("users"), {"manager_id": nobody})
    people = increments.managers(job, pa.Table.from_batches([rows], schema=users.schema()))
    touched = pa.concat_arrays([found.ids, found.removed])
    _give_facts(job, rows, touched)
    return [
        Amendment(
            "license_assignments",
            pa.Table.from_batches([_licenses(job, found.items)]),
            within=("user_id", touched) if len(touched) else None,
        ),
        Amendment("users", people, deletes=increments.removed_rows(job, "users", found)),
    ]


def _give_facts(job: Job, changed: pa.RecordBatch, touched: Array) -> None:
    """What a full read gives, as the table will have it."""
    info = job.lake.info("users")
    job.facts.give("users.count", 0 if info is None else info.rows)
    if job.settings.skip_ad_groups:
        former = job.lake.read("users", ("id", "on_premises_sync_enabled"))
        former = former.filter(pc.invert(pc.is_in(former.column("id"), value_set=touched)))
        now = pa.Table.from_batches([changed]).select(former.column_names)
        people = pa.concat_tables([former, now.cast(former.schema)])
        is_synced = pc.equal(people.column("on_premises_sync_enabled"), True)
        job.facts.give("users.synced", people.column("id").filter(is_synced).combine_chunks())


def _licenses(job: Job, items: Structs) -> pa.RecordBatch:
    states, owners = mapping.children(items, STATES)
    return mapping.rows(
        job.table("license_assignments"),
        states,
        job.notes("license_assignments"),
        {"user_id": owners, "source_group_id": states.field("assignedByGroup").fill_null("")},
        encoded=REPEATED_LICENSES,
    )


def _users(job: Job) -> None:
    if job.by_changes(_changed):
        return
    users, licenses = job.table("users"), job.table("license_assignments")
    user_notes = job.notes("users")
    without = () if job.settings.on_premises_extension_attributes else (EXTENSION_ATTRIBUTES,)
    listing = Listing(
        users.path,
        {
            "$select": mapping.select(users, STATES, without=without),
            "$top": PAGE,
            "$expand": "manager($select=id)",
        },
        PageParser(mapping.shape(users, {STATES: mapping.child(licenses)}, without=without)),
        job.label("users", "license_assignments"),
        priority=job.priority,
    )

    def convert(items: Structs) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        assignments = _licenses(job, items)
        return mapping.rows(users, items, user_notes, encoded=REPEATED), assignments

    count: int | None = None

    def expected(number: int) -> None:
        nonlocal count
        count = number
        job.facts.give("users.count", number)

    def arrived(page: tuple[pa.RecordBatch, pa.RecordBatch]) -> None:
        job.counted("users", page[0].num_rows, count)
        job.counted("license_assignments", page[1].num_rows)

    size = distinct("id")
    pages = job.source.read_counted(
        listing,
        user_notes,
        convert,
        lambda pages: size([page[0] for page in pages]),
        expected=expected,
        arrived=arrived,
    )
    people = mapping.together(users, [page[0] for page in pages])
    licensed = mapping.together(licenses, [page[1] for page in pages])
    del pages
    job.believe("users", people.num_rows)
    is_synced = pc.equal(people.column("on_premises_sync_enabled"), True)
    job.facts.give("users.synced", people.column("id").filter(is_synced).combine_chunks())
    job.publish("license_assignments", licensed)
    del licensed
    job.publish("users", people)


def _sign_in_activity(job: Job) -> None:
    # 500 is the largest page and 10 requests a minute the pace of anything that selects
    # signInActivity, which is why it never rides along with the users.
    # Source: https://learn.microsoft.com/graph/api/user-list#example-12
    read_list(job, "user_sign_in_activity", top="500", service=Service.SIGN_IN_ACTIVITY)


def _registration_details(job: Job) -> None:
    read_list(job, "user_registration_details", service=Service.REPORTS)


READERS = (
    Reader(
        "users",
        ("users", "license_assignments"),
        _users,
        gives=("users.count", "users.synced"),
        priority=0,
    ),
    Reader("sign_in_activity", ("user_sign_in_activity",), _sign_in_activity, priority=9),
    Reader(
        "registration_details", ("user_registration_details",), _registration_details, priority=9
    ),
)
