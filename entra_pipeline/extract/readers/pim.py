"""PIM for groups: who may become, or is, a member or owner of a group for a time.

Here: the reads group by group. Not here: PIM for directory roles (`lists`), which lists at once.
"""

import pyarrow as pa

from entra_pipeline.extract import mapping, pointed
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.job import Amendment, Job, Partial, Reader
from entra_pipeline.extract.nested import both, read_each
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.readers.lists import eligible, nothing
from entra_pipeline.extract.source import PAGE, Listing
from entra_pipeline.msgraph import Service

TABLES = ("group_eligibility_schedule_instances", "group_assignment_schedule_instances")


def _changed(job: Job) -> list[Amendment]:
    return [_pointed_at(job, name) for name in TABLES if job.wants(name)]


def _pointed_at(job: Job, name: str) -> Amendment:
    """What is read again: groups that hints, their own return or the time point at."""
    named = pa.array(job.settings.pim_groups, pa.string())
    # Of other groups Graph is never asked, so a full read would not show them.
    hinted = pointed.together([job.hinted(name), job.fresh("groups")])
    ours = pointed.role_assignable(job, hinted)
    touched = pointed.together(
        [
            hinted.filter(pc.is_in(hinted, value_set=pa.concat_arrays([ours, named]))),
            pointed.due(job, name, "group_id"),
            pointed.naming(job, name, "principal_id", job.lives(), "group_id"),
        ]
    )
    path = job.table(name).path
    return pointed.read_again(
        job,
        name,
        "group_id",
        touched,
        lambda key: f"{path}?$filter=groupId eq '{key}'",
        eligible if "eligibility" in name else nothing,
        gone=job.round("groups").removed,
        service=Service.GOVERNANCE,
    )


def _instances(job: Job) -> None:
    """Graph answers for one group or principal at a time only, and names no onboarded groups.

    So role-assignable groups are asked about, and those that the settings name.
    Source: https://learn.microsoft.com/graph/api/privilegedaccessgroup-list-eligibilityscheduleinstances
    """
    if job.by_changes(_changed):
        return
    special, stale = _role_assignable(job)
    groups = list(dict.fromkeys([*special, *job.settings.pim_groups]))
    for name in TABLES:
        if job.wants(name):
            job.attempt(name, lambda name=name: _read(job, name, groups, stale))  # type: ignore[misc]


def _read(job: Job, name: str, groups: list[str], stale: Partial | None) -> None:
    table, notes = job.table(name), job.notes(name)
    compute = eligible if "eligibility" in name else nothing
    batches, partial = read_each(
        job,
        name,
        PageParser(mapping.shape(table)),
        ((key, f"{table.path}?$filter=groupId eq '{key}'") for key in groups),
        lambda _, items: mapping.rows(table, items, notes, compute(items, notes)),
        service=Service.GOVERNANCE,
    )
    job.publish(name, batches, partial=both(stale, partial))


def _role_assignable(job: Job) -> tuple[list[str], Partial | None]:
    fact = "groups.role_assignable"
    if job.facts.promised(fact):
        return job.fact_or_former(fact, ("id", "is_assignable_to_role"), _special)
    listing = Listing(
        "/groups",
        {"$select": "id", "$top": PAGE, "$filter": "isAssignableToRole eq true"},
        PageParser(pa.struct([("id", pa.string())])),
        job.label(*TABLES),
        priority=job.priority,
    )
    pages = job.source.read(listing, job.notes(TABLES[0]), lambda items: items)
    return [item["id"] for page in pages for item in page.to_pylist() if item["id"]], None


def _special(groups: pa.Table) -> list[str]:
    is_special = pc.equal(groups.column("is_assignable_to_role"), True)
    return [str(key) for key in groups.column("id").filter(is_special).to_pylist()]


READERS = (Reader("group_pim", TABLES, _instances, priority=6),)
