"""Derived tables of the entitlement graph that are stored in the warehouse.

Declarations only; the access package builds them. Its macros (access_of, who_can, explain) and
views are not tables and are not declared here.
"""

from entra_pipeline.tables.model import (
    BOOL,
    INT8,
    INT32,
    TEXT,
    TEXTS,
    TIME,
    Reference,
    Table,
    computed,
)

PRINCIPALS = Table(
    name="principals",
    doc="Everything that can hold access, one row each, whatever its kind.",
    group="access",
    key=("id",),
    columns=(
        computed("id", TEXT, "Object id, or all_users for everybody."),
        computed(
            "kind",
            TEXT,
            "user, guest, group, service_principal, managed_identity, device, contact, "
            "all_users, or unknown when a grant names an object that no table has.",
        ),
        computed("name", TEXT, "Name to show."),
        computed("enabled", BOOL, "False when it cannot sign in; null where that has no meaning."),
        computed("source", TEXT, "Table that the row comes from."),
        computed("user_principal_name", TEXT, "Sign-in name of users."),
        computed("mail", TEXT, "Mail address of users, groups and contacts."),
        computed("app_id", TEXT, "Application id of service principals."),
    ),
)

RESOURCES = Table(
    name="resources",
    doc="Things that access can be held on.",
    group="access",
    key=("id",),
    columns=(
        computed("id", TEXT, "Object id, role definition id or product id."),
        computed(
            "kind",
            TEXT,
            "group, app, application, role, license, unit or device.",
        ),
        computed("name", TEXT, "Name to show."),
        computed("source", TEXT, "Table that the row comes from; null when it is gone."),
    ),
)

ENTITLEMENTS = Table(
    name="entitlements",
    doc="Permissions on resources, in the forms that grants name.",
    group="access",
    key=("entitlement_id",),
    references=(Reference(("resource_id",), "resources"),),
    columns=(
        computed(
            "entitlement_id",
            TEXT,
            "Stable readable id, such as group:<id>:member or role:<id>@<directory scope>.",
        ),
        computed("resource_id", TEXT, "The thing it is a permission on."),
        computed("resource_kind", TEXT, "Kind of that thing."),
        computed("slug", TEXT, "Short name within the resource, such as member."),
        computed("display_name", TEXT, "Name to show."),
        computed("purpose", TEXT, "assignment, permission or ownership."),
        computed("tier", INT8, "Privileged tier 0, 1 or 2; null: not privileged."),
        computed("scope", TEXT, "Directory scope of roles, else null."),
        computed("grantable_to", TEXTS, "Kinds of principal that may receive it."),
    ),
)

GRANTS = Table(
    name="grants",
    doc="Direct holds of an entitlement by a principal.",
    group="access",
    key=("entitlement_id", "principal_id", "state", "source_table", "source_id"),
    references=(
        Reference(("entitlement_id",), "entitlements"),
        Reference(("principal_id",), "principals"),
    ),
    columns=(
        computed("entitlement_id", TEXT, "What is held."),
        computed("principal_id", TEXT, "Who holds it."),
        computed("state", TEXT, "active, or eligible (may be activated)."),
        computed("scope", TEXT, "Directory scope of roles, else null."),
        computed("start_date_time", TIME, "Start of the window; null: unbounded."),
        computed("end_date_time", TIME, "End of the window; null: unbounded."),
        computed("source_table", TEXT, "Table of the row that says so."),
        computed("source_id", TEXT, "Key of that row."),
        computed(
            "reach",
            TEXT,
            "deep: nested members of a group hold it too; direct_members: only its direct "
            "members do; none: a group's hold passes on to nobody.",
        ),
        computed("on_behalf_of", TEXT, "Delegated permissions: the user, null for all."),
    ),
)

GROUP_CLOSURE = Table(
    name="group_closure",
    doc="Which groups are inside which, at any depth. The only closure that is stored.",
    group="access",
    key=("group_id", "member_group_id"),
    references=(
        Reference(("group_id",), "groups"),
        Reference(("member_group_id",), "groups"),
    ),
    columns=(
        computed("group_id", TEXT, "The outer group."),
        computed("member_group_id", TEXT, "A group inside it."),
        computed("depth", INT32, "Fewest membership steps between them."),
        computed("on_cycle", BOOL, "Both lie on one nesting cycle."),
    ),
)

TABLES = (PRINCIPALS, RESOURCES, ENTITLEMENTS, GRANTS, GROUP_CLOSURE)
