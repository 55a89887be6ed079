"""Service principals: what they are, what they offer, who owns them, who got it.

Here: `/servicePrincipals` and its app role assignments and provisioning jobs. Not here: their
group memberships (`groups`) and the publication of their credentials (`applications`).
"""

import pyarrow as pa

from entra_pipeline.extract import increments, mapping, pointed
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import WholeError
from entra_pipeline.extract.followed import PRINCIPALS, ROLES, SCOPES, SECRETS
from entra_pipeline.extract.job import Amendment, Job, Partial, Reader
from entra_pipeline.extract.nested import both, link_rows, read_each, relation, split
from entra_pipeline.extract.notes import DROPPED_BY_SETTING, Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.readers.applications import is_spared, secrets
from entra_pipeline.extract.readers.lists import distinct, nothing
from entra_pipeline.extract.source import PAGE, Listing
from entra_pipeline.msgraph import Service
from entra_pipeline.tables import Table, tiers

_CHILDREN = {"app_roles": ROLES, "delegated_permissions": SCOPES}
_ASSIGNED = "appRoleAssignedTo"
_TEXT = pa.string()


class _Page:
    """What one page of service principals holds, table by table."""

    def __init__(self, job: Job, items: Structs, credentials: bool) -> None:
        self.objects = mapping.rows(
            job.table("service_principals"),
            items,
            job.notes("service_principals"),
            _computed(items),
        )
        self.offered = {
            name: _offered(job.table(name), items, relationship, job.notes(name))
            for name, relationship in _CHILDREN.items()
        }
        owners = split(items, "owners")
        self.owners = link_rows(
            job.table("service_principal_owners"),
            owners.owners,
            owners.items,
            job.notes("service_principal_owners"),
        )
        self.cut: list[str] = owners.cut.to_pylist()
        self.credentials = secrets(job, items, "service_principal") if credentials else []


def _changed(job: Job) -> list[Amendment]:
    """The changed service principals with what they offer, and those who are gone."""
    feed = "service_principals"
    found = job.round(feed)
    touched = pa.concat_arrays([found.ids, found.removed])
    changed: list[Amendment] = []
    for name, relationship in _CHILDREN.items():
        lists = pc.struct_field(found.items, relationship)
        increments.said(job, name, "resource_id", found.ids, lists)
        offered = _offered(job.table(name), found.items, relationship, job.notes(name))
        changed.append(
            Amendment(
                name,
                pa.Table.from_batches([offered]),
                within=("resource_id", touched) if len(touched) else None,
            )
        )
    if job.wants("service_principal_owners"):
        name = "service_principal_owners"
        owners = pa.concat_arrays([found.ids, job.hinted(name)])
        back = {"users": "ownedObjects", feed: "ownedObjects"}
        changed.append(increments.unannounced(job, name, feed, "owners", back, owners))
    rows = mapping.rows(job.table(feed), found.items, job.notes(feed), _computed(found.items))
    _give_provisionable(job, rows, touched)
    return [*changed, increments.objects(job, feed, found, rows)]


def _give_provisionable(job: Job, changed: pa.RecordBatch, touched: Array) -> None:
    """The fact as the table will have it."""
    columns = ("id", "service_principal_type")
    stored = job.lake.read("service_principals", columns)
    stored = stored.filter(pc.invert(pc.is_in(stored.column("id"), value_set=touched)))
    now = pa.Table.from_batches([changed]).select(columns).cast(stored.schema)
    together = pa.concat_tables([stored, now])
    job.facts.give("service_principals.provisionable", _no_identities(together))


def _service_principals(job: Job) -> None:
    if job.by_changes(_changed) or is_spared(job):
        # The credentials, if they are read in full, then list for themselves.
        job.facts.give("service_principals.credentials", None)
        return
    table = job.table("service_principals")
    credentials = job.wants("credentials")
    # Taken now, whichever reader is first: what changes from here on is told again.
    job.feeds.bookmark(["credentials"], job.notes("credentials"), job.priority)
    further: dict[str, pa.DataType] = {
        ROLES: mapping.child(job.table("app_roles")),
        SCOPES: mapping.child(job.table("delegated_permissions")),
        "owners": mapping.LINKS,
        **(SECRETS if credentials else {}),
    }
    listing = Listing(
        table.path,
        {
            "$select": mapping.select(table, ROLES, SCOPES, *(SECRETS if credentials else ())),
            "$top": PAGE,
            "$expand": "owners($select=id)",
        },
        PageParser(mapping.shape(table, further)),
        job.label("service_principals", "app_roles", "delegated_permissions"),
        service=Service.KEY_CREDENTIALS if credentials else Service.DIRECTORY,
        priority=job.priority,
    )

    def arrived(page: _Page) -> None:
        job.counted("service_principals", page.objects.num_rows)
        job.counted("service_principal_owners", page.owners.num_rows)
        for name, rows in page.offered.items():
            job.counted(name, rows.num_rows)

    size = distinct("id")
    pages = job.source.read_counted(
        listing,
        job.notes("service_principals"),
        lambda items: _Page(job, items, credentials),
        lambda pages: size([page.objects for page in pages]),
        arrived=arrived,
    )
    objects = pa.Table.from_batches([page.objects for page in pages], schema=table.schema())
    job.believe("service_principals", objects.num_rows)
    job.facts.give("service_principals.listed", size([page.objects for page in pages]))
    job.facts.give("service_principals.provisionable", _no_identities(objects))
    dropped = _unassigned(job, objects) if job.settings.skip_unassigned_apps else None
    job.notes("service_principals").add(DROPPED_BY_SETTING, 0 if dropped is None else len(dropped))
    job.facts.give(
        "service_principals.credentials",
        [_without(b, "owner_id", dropped) for page in pages for b in page.credentials],
    )
    job.publish("service_principals", _without(objects, "id", dropped))
    for name in _CHILDREN:
        job.publish(name, [_without(page.offered[name], "resource_id", dropped) for page in pages])
    if job.wants("service_principal_owners"):
        _owners(job, pages, dropped)


def _owners(job: Job, pages: list[_Page], dropped: Array | None) -> None:
    table, notes = job.table("service_principal_owners"), job.notes("service_principal_owners")
    gone = set() if dropped is None else set(dropped.to_pylist())
    relation(
        job,
        table.name,
        [_without(page.owners, "service_principal_id", dropped) for page in pages],
        (key for page in pages for key in page.cut if key not in gone),
        lambda key: f"/servicePrincipals/{key}/owners?$select=id&$top={PAGE}",
        PageParser(mapping.LINK),
        lambda ids, items: link_rows(table, ids, items, notes),
    )


def _computed(items: Structs) -> dict[str, Array]:
    """What kind of managed identity, and of which Azure resource, from alternativeNames.

    They hold `isExplicit=True` (user-assigned) or `isExplicit=False` (system-assigned) and the
    path of the resource; of a user-assigned identity, the identity's own.
    Source: https://learn.microsoft.com/graph/api/resources/serviceprincipal#properties
    """
    kinds: list[str | None] = []
    resources: list[str | None] = []
    types = items.field("servicePrincipalType").to_pylist()
    for kind, names in zip(types, items.field("alternativeNames").to_pylist(), strict=True):
        if kind != "ManagedIdentity":
            kinds.append(None)
            resources.append(None)
            continue
        words = [name for name in names or () if name]
        explicit = {word.lower() for word in words if word.lower().startswith("isexplicit=")}
        paths = [word for word in words if word.lower().startswith("/subscriptions/")]
        path = paths[0] if paths else None
        own = path is not None and "/userassignedidentities/" in path.lower()
        if "isexplicit=true" in explicit or (not explicit and own):
            kinds.append("user_assigned")
        elif "isexplicit=false" in explicit or path is not None:
            kinds.append("system_assigned")
        else:
            kinds.append(None)
        resources.append(path)
    return {
        "managed_identity_kind": pa.array(kinds, _TEXT),
        "azure_resource_id": pa.array(resources, _TEXT),
    }


def _offered(table: Table, items: Structs, relationship: str, notes: Notes) -> pa.RecordBatch:
    found, owners = mapping.children(items, relationship)
    _, apps = mapping.children(items, relationship, "appId")
    delegated = relationship == SCOPES
    tier = [
        tiers.permission_tier(app, value, delegated=delegated)
        for app, value in zip(
            apps.to_pylist(), pc.struct_field(found, "value").to_pylist(), strict=True
        )
    ]
    return mapping.rows(
        table, found, notes, {"resource_id": owners, "tier": pa.array(tier, pa.int8())}
    )


def _unassigned(job: Job, objects: pa.Table) -> Array:
    """Ids of the applications that `skip_unassigned_apps` leaves out.

    Nobody is assigned to them, they hold no app role themselves, and they do not require
    assignment; managed identities are no applications and stay.
    """
    involved = job.fact("app_role_assignments.involved")
    is_free = pc.invert(pc.is_in(objects.column("id"), value_set=involved))
    is_application = pc.not_equal(
        objects.column("service_principal_type"), "ManagedIdentity"
    ).fill_null(True)
    is_open = pc.invert(pc.fill_null(objects.column("app_role_assignment_required"), False))
    chosen = objects.filter(pc.and_(is_free, pc.and_(is_application, is_open)))
    return chosen.column("id").combine_chunks()


def _without(rows: "pa.RecordBatch | pa.Table", column: str, ids: Array | None) -> Array:
    """The rows whose column holds none of the ids."""
    if ids is None:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows.column(column), value_set=ids)))


# ---- app role assignments ----------------------------------------------------------------------


def _changed_assignments(job: Job) -> list[Amendment]:
    """The assignments of applications that hints point at, that are new, or that lost a holder."""
    name = "app_role_assignments"
    lives = [job.lives(), *(job.round(feed).removed for feed in PRINCIPALS)]
    touched = pointed.together(
        [
            job.hinted(name),
            job.fresh("service_principals"),
            pointed.naming(job, name, "principal_id", pointed.together(lives), "resource_id"),
        ]
    )
    applications = job.lake.info("service_principals")
    if applications is not None and len(touched) > max(100, applications.rows // 2):
        raise WholeError(f"{len(touched)} applications may have other assignments")
    again = pointed.read_again(
        job,
        name,
        "resource_id",
        touched,
        lambda key: f"/servicePrincipals/{key}/{_ASSIGNED}?$top={PAGE}",
        nothing,
        gone=job.round("service_principals").removed,
    )
    return [again]


def _assignments(job: Job) -> None:
    """Who got which app role.

    One listing with `$expand` shows the assignments of most applications whole, and saves a
    request for each of the many that nobody is assigned to.
    """
    if job.by_changes(_changed_assignments):
        return
    name = "app_role_assignments"
    table, notes = job.table(name), job.notes(name)
    relationship = _ASSIGNED
    listing = Listing(
        "/servicePrincipals",
        {"$select": "id", "$top": PAGE, "$expand": relationship},
        PageParser(pa.struct([("id", _TEXT), (relationship, mapping.child(table))])),
        job.label(name),
        priority=job.priority,
    )

    def convert(items: Structs) -> tuple[pa.RecordBatch, list[str]]:
        found = split(items, relationship)
        return mapping.rows(table, found.items, notes), found.cut.to_pylist()

    pages = job.source.read_listed(
        listing, notes, convert, lambda page: job.counted(name, page[0].num_rows)
    )
    read, partial = read_each(
        job,
        name,
        PageParser(mapping.shape(table)),
        (
            (key, f"/servicePrincipals/{key}/{relationship}?$top={PAGE}")
            for page in pages
            for key in page[1]
        ),
        lambda _, items: mapping.rows(table, items, notes),
    )
    batches = [*(page[0] for page in pages), *read]
    rows = pa.Table.from_batches(batches, schema=table.schema())
    if job.facts.promised("app_role_assignments.involved"):
        resources, principals = rows.column("resource_id"), rows.column("principal_id")
        involved = pa.chunked_array([*resources.chunks, *principals.chunks], _TEXT).unique()
        job.facts.give("app_role_assignments.involved", involved)
    job.publish(name, rows, partial=partial)


# ---- provisioning jobs -------------------------------------------------------------------------


def _jobs(job: Job) -> None:
    """Provisioning jobs, application by application: Graph lists them no other way."""
    name = "synchronization_jobs"
    table, notes = job.table(name), job.notes(name)
    principals, stale = _provisionable(job)
    batches, partial = read_each(
        job,
        name,
        PageParser(mapping.shape(table)),
        ((key, f"/servicePrincipals/{key}/synchronization/jobs") for key in principals),
        lambda ids, items: mapping.rows(table, items, notes, {"service_principal_id": ids}),
        service=Service.GOVERNANCE,
    )
    job.publish(name, batches, partial=both(stale, partial))


def _provisionable(job: Job) -> tuple[list[str], Partial | None]:
    """Service principals that can have a job: every kind but managed identities."""
    fact, kind = "service_principals.provisionable", "service_principal_type"
    if job.facts.promised(fact):
        return job.fact_or_former(fact, ("id", kind), _no_identities)
    listing = Listing(
        "/servicePrincipals",
        {"$select": "id,servicePrincipalType", "$top": PAGE},
        PageParser(pa.struct([("id", _TEXT), ("servicePrincipalType", _TEXT)])),
        job.label("synchronization_jobs"),
        priority=job.priority,
    )
    pages = job.source.read(listing, job.notes("synchronization_jobs"), lambda items: items)
    chosen = [
        item["id"]
        for page in pages
        for item in page.to_pylist()
        if item["id"] and item["servicePrincipalType"] != "ManagedIdentity"
    ]
    return chosen, None


def _no_identities(objects: pa.Table) -> list[str]:
    is_application = pc.not_equal(objects.column("service_principal_type"), "ManagedIdentity")
    chosen = objects.column("id").filter(is_application.fill_null(True))
    return [str(key) for key in chosen.to_pylist()]


READERS = (
    Reader(
        "service_principals",
        ("service_principals", "app_roles", "delegated_permissions", "service_principal_owners"),
        _service_principals,
        gives=(
            "service_principals.credentials",
            "service_principals.listed",
            "service_principals.provisionable",
        ),
        needs_with={"skip_unassigned_apps": ("app_role_assignments",)},
        priority=2,
    ),
    Reader(
        "app_role_assignments",
        ("app_role_assignments",),
        _assignments,
        gives=("app_role_assignments.involved",),
        priority=2,
    ),
    Reader("synchronization_jobs", ("synchronization_jobs",), _jobs, priority=9),
)
