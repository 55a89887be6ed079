"""Tables that are one list of Graph's each: no relations to follow, nothing to fan out.

Here: one request chain per table. Not here: lists that also bring relations (their own modules).
"""

from collections.abc import Callable, Mapping

import pyarrow as pa

from entra_pipeline.extract import increments, mapping, pointed, values
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.job import Amendment, Job, Reader
from entra_pipeline.extract.notes import Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.small import Small, read_small
from entra_pipeline.extract.source import PAGE, Listing
from entra_pipeline.msgraph import Service
from entra_pipeline.tables import get, tiers

Compute = Callable[[Structs, Notes], Mapping[str, Array]]


def nothing(items: Structs, notes: Notes) -> Mapping[str, Array]:
    """No computed columns."""
    return {}


def read_list(
    job: Job,
    name: str,
    compute: Compute = nothing,
    *,
    top: str | None = PAGE,
    select: bool = True,
    counted: bool = False,
    service: Service = Service.DIRECTORY,
) -> None:
    """Read a table that is one list, or what changed of it, and publish it.

    `top`: the page size to ask for, None where Graph does not page or documents no `$top`;
    `counted`: compare with Graph's count.
    """

    def changed(job: Job) -> list[Amendment]:
        found, notes = job.round(name), job.notes(name)
        rows = mapping.rows(job.table(name), found.items, notes, compute(found.items, notes))
        return [increments.objects(job, name, found, rows)]

    if not job.by_changes(changed):
        list_whole(job, name, compute, top=top, select=select, counted=counted, service=service)


def list_whole(
    job: Job,
    name: str,
    compute: Compute = nothing,
    *,
    top: str | None = PAGE,
    select: bool = True,
    counted: bool = False,
    service: Service = Service.DIRECTORY,
) -> None:
    """Read a table that is one list and publish it; the parameters as for `read_list`."""
    table = job.table(name)
    notes = job.notes(name)

    def convert(items: Structs) -> pa.RecordBatch:
        return mapping.rows(table, items, notes, compute(items, notes))

    params = {"$select": mapping.select(table)} if select else {}
    if top is not None:
        params["$top"] = top
    listing = Listing(
        table.path,
        params,
        PageParser(mapping.shape(table)),
        job.label(name),
        service=service,
        priority=job.priority,
    )

    def arrived(batch: pa.RecordBatch) -> None:
        job.counted(name, batch.num_rows)

    if counted:
        batches = job.source.read_counted(listing, notes, convert, distinct("id"), arrived=arrived)
    elif name in _SMALL:
        batches = read_small(job, _SMALL, name, listing, notes, convert, arrived)
    else:
        batches = job.source.read(listing, notes, convert, arrived)
    job.publish(name, batches)


def distinct(column: str) -> Callable[[list[pa.RecordBatch]], int]:
    """How many different values the column has over some batches."""

    def size(batches: list[pa.RecordBatch]) -> int:
        if not batches:
            return 0
        return int(pc.count_distinct(pa.chunked_array([b.column(column) for b in batches])).as_py())

    return size


# ---- the tenant --------------------------------------------------------------------------------

# Service plan names that carry Entra ID's paid features.
# Source: https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference
_P1 = "41781fb2-bc02-4b7c-bd55-b576c07bb09d"
_P2 = "eec0eb4f-6444-4f95-aba0-50c24d67f998"


def _license_level(items: Structs, notes: Notes) -> Mapping[str, Array]:
    levels = []
    for plans in items.field("assignedPlans").to_pylist():
        enabled = {
            plan["servicePlanId"]
            for plan in plans or ()
            if plan is not None and plan["capabilityStatus"] in {"Enabled", "Warning"}
        }
        levels.append("p2" if _P2 in enabled else "p1" if _P1 in enabled else "free")
    return {"license_level": pa.array(levels, pa.string())}


def _contacts(job: Job) -> None:
    read_list(job, "contacts", counted=True)


def _organization(job: Job) -> None:
    read_list(job, "organization", _license_level, top=None, select=False)


def _domains(job: Job) -> None:
    read_list(job, "domains", top=None, select=False)


def _skus(job: Job) -> None:
    read_list(job, "subscribed_skus", top=None)


# ---- roles -------------------------------------------------------------------------------------


def _role_definition(items: Structs, notes: Notes) -> Mapping[str, Array]:
    actions: list[list[str]] = []
    for permissions in items.field("rolePermissions").to_pylist():
        allowed = (
            action
            for permission in permissions or ()
            for action in (permission or {}).get("allowedResourceActions") or ()
        )
        actions.append(list(dict.fromkeys(allowed)))
    templates = items.field("templateId").to_pylist()
    found = [tiers.role_tier(*each) for each in zip(templates, actions, strict=True)]
    return {
        "allowed_resource_actions": pa.array(actions, pa.list_(pa.string())),
        "tier": pa.array(found, pa.int8()),
    }


def _role_definitions(job: Job) -> None:
    read_list(job, "role_definitions", _role_definition, top=None)


_INSTANCES = 100
"""Instances that Graph puts on a page."""


def _held_roles(
    job: Job,
    name: str,
    compute: Compute = nothing,
    *,
    top: str | None = None,
    service: Service = Service.GOVERNANCE,
) -> None:
    """Read a table of who holds which role, or what may have changed of it, and publish it."""

    def changed(job: Job) -> list[Amendment]:
        touched = _holders(job, name)
        pointed.worthwhile(job, name, touched, int(top or _INSTANCES))
        table = job.table(name)
        asked = f"{table.path}?$select={mapping.select(table)}&$filter=principalId eq "
        return [
            pointed.read_again(
                job,
                name,
                "principal_id",
                touched,
                lambda key: f"{asked}'{key}'{f'&$top={top}' if top else ''}",
                compute,
                service=service,
            )
        ]

    if not job.by_changes(changed):
        list_whole(job, name, compute, top=top, service=service)


def _holders(job: Job, name: str) -> Array:
    """Whose roles are to be read again."""
    ids = [job.hinted(name)]
    lives = set(job.lives().to_pylist())
    scopes = job.lake.read(name, ("principal_id", "directory_scope_id"))
    # A role may be for one object that is gone: its scope ends with the object's id.
    ids.append(
        pa.array(
            [
                holder
                for holder, scope in zip(*(c.to_pylist() for c in scopes.columns), strict=True)
                if holder in lives or (scope or "").rpartition("/")[2] in lives
            ],
            pa.string(),
        )
    )
    if name != "role_assignments":
        ids += [pointed.due(job, name, "principal_id"), _moved_in_groups(job)]
    return pointed.together(ids)


def _moved_in_groups(job: Job) -> Array:
    """Who became, or ceased to be, a member of a role-assignable group: PIM derives instances."""
    links = job.round("groups").links["members"]
    groups = pc.unique(links.column("owner").combine_chunks())
    special = pointed.role_assignable(job, groups)
    moved = links.filter(pc.is_in(links.column("owner"), value_set=special))
    return moved.column("other").combine_chunks()


def _role_assignments(job: Job) -> None:
    _held_roles(job, "role_assignments", top=PAGE, service=Service.DIRECTORY)


def _role_assignment_instances(job: Job) -> None:
    _held_roles(job, "role_assignment_schedule_instances")


def eligible(items: Structs, notes: Notes) -> Mapping[str, Array]:
    """The assignment type of eligibilities, which Graph does not say."""
    return {"assignment_type": pa.array(["Eligible"] * len(items), pa.string())}


def _role_eligibility_instances(job: Job) -> None:
    _held_roles(job, "role_eligibility_schedule_instances", eligible)


# ---- consents and policies ---------------------------------------------------------------------


def _scopes(items: Structs, notes: Notes) -> Mapping[str, Array]:
    return {"scopes": values.words(items.field("scope"))}


def _grants(job: Job) -> None:
    read_list(job, "oauth2_permission_grants", _scopes)


def _policies(job: Job) -> None:
    read_list(
        job,
        "conditional_access_policies",
        top=None,
        select=False,
        service=Service.CONDITIONAL_ACCESS,
    )


# ---- deleted objects ---------------------------------------------------------------------------

# The cast is mandatory: deleted objects can be listed only one type at a time.
# Source: https://learn.microsoft.com/graph/api/directory-deleteditems-list
_DELETED = {
    "user": "user",
    "group": "group",
    "application": "application",
    "servicePrincipal": "service_principal",
    "device": "device",
    "administrativeUnit": "administrative_unit",
}
_DELETED_PROPERTIES = {
    "user": ("userPrincipalName", "mail"),
    "group": ("mail",),
    "application": ("appId",),
    "servicePrincipal": ("appId",),
}


def _small_lists() -> dict[str, Small]:
    small = {name: Small(name, get(name).path, {}) for name in ("organization", "domains")}
    for name in ("subscribed_skus", "role_definitions"):
        small[name] = Small(name, get(name).path, {"$select": mapping.select(get(name))})
    for kind in _DELETED:
        properties = ("id", "displayName", "deletedDateTime", *_DELETED_PROPERTIES.get(kind, ()))
        small[kind] = Small(
            "deleted_items",
            f"/directory/deletedItems/microsoft.graph.{kind}",
            {"$select": ",".join(properties), "$top": PAGE},
        )
    return small


_SMALL: Mapping[str, Small] = _small_lists()
"""By table, or kind of deleted objects: lists without a feed that are a page or two long."""


def _deleted_items(job: Job) -> None:
    table = job.table("deleted_items")
    notes = job.notes("deleted_items")
    parser = PageParser(mapping.shape(table))
    batches: list[pa.RecordBatch] = []
    for kind, ours in _DELETED.items():
        small = _SMALL[kind]
        listing = Listing(
            small.path, small.params, parser, job.label("deleted_items"), priority=job.priority
        )

        def convert(items: Structs, ours: str = ours) -> pa.RecordBatch:
            kinds = pa.array([ours] * len(items), pa.string())
            return mapping.rows(table, items, notes, {"kind": kinds})

        def arrived(batch: pa.RecordBatch) -> None:
            job.counted("deleted_items", batch.num_rows)

        batches += read_small(job, _SMALL, kind, listing, notes, convert, arrived)
    job.publish("deleted_items", batches)


READERS = (
    Reader("organization", ("organization",), _organization),
    Reader("domains", ("domains",), _domains),
    Reader("contacts", ("contacts",), _contacts),
    Reader("subscribed_skus", ("subscribed_skus",), _skus),
    Reader("role_definitions", ("role_definitions",), _role_definitions),
    Reader("role_assignments", ("role_assignments",), _role_assignments),
    Reader(
        "role_assignment_schedule_instances",
        ("role_assignment_schedule_instances",),
        _role_assignment_instances,
    ),
    Reader(
        "role_eligibility_schedule_instances",
        ("role_eligibility_schedule_instances",),
        _role_eligibility_instances,
    ),
    Reader("oauth2_permission_grants", ("oauth2_permission_grants",), _grants),
    Reader("conditional_access_policies", ("conditional_access_policies",), _policies),
    Reader("deleted_items", ("deleted_items",), _deleted_items),
)
