"""Derived tables of use: who used what, when last and how often, as the activity logs tell.

Declarations only; `access.usage` builds them. Times are of events that were read by the moment in
`usage_coverage`, which also says since when no event means no use.
"""

from entra_pipeline.tables.model import (
    BOOL,
    INT64,
    TEXT,
    TIME,
    Reference,
    Table,
    computed,
)

USAGE = Table(
    name="usage",
    doc="Successful sign-ins of the last 90 days by principal and application.",
    group="access",
    key=("principal_id", "app_id", "capacity", "kind"),
    references=(
        Reference(("principal_id",), "principals"),
        Reference(("service_principal_id",), "service_principals"),
    ),
    columns=(
        computed("principal_id", TEXT, "Who signed in."),
        computed("app_id", TEXT, "Application (client) id of the application."),
        computed(
            "capacity",
            TEXT,
            "client: the application that was signed in to; resource: what it asked access to.",
        ),
        computed(
            "kind",
            TEXT,
            "interactive, non_interactive, service_principal or managed_identity. Graph v1.0 "
            "logs interactive sign-ins of users only.",
        ),
        computed("service_principal_id", TEXT, "The application in this tenant, if it is there."),
        computed("last_used", TIME, "Last successful sign-in."),
        computed("used_30d", INT64, "Sign-ins of the last 30 days that were read."),
        computed("used_90d", INT64, "Sign-ins of the last 90 days that were read."),
    ),
)

ROLE_USAGE = Table(
    name="role_usage",
    doc="Activations of directory roles by PIM in the last 90 days, by principal and role.",
    group="access",
    key=("principal_id", "role_definition_id"),
    references=(
        Reference(("principal_id",), "principals"),
        Reference(("role_definition_id",), "role_definitions"),
    ),
    columns=(
        computed("principal_id", TEXT, "Who activated the role."),
        computed("role_definition_id", TEXT, "The role."),
        computed("last_activation", TIME, "Last activation that was completed."),
        computed("activations_30d", INT64, "Activations of the last 30 days that were read."),
        computed("activations_90d", INT64, "Activations of the last 90 days that were read."),
    ),
)

PRINCIPAL_USAGE = Table(
    name="principal_usage",
    doc="When principals last signed in, in each way, and last changed the directory.",
    group="access",
    key=("principal_id",),
    references=(Reference(("principal_id",), "principals"),),
    columns=(
        computed("principal_id", TEXT, "The principal."),
        computed("last_interactive", TIME, "Last interactive sign-in of a user."),
        computed("last_non_interactive", TIME, "Last sign-in by a client on the user's behalf."),
        computed("last_successful", TIME, "Last successful sign-in of either way."),
        computed(
            "last_service_principal",
            TIME,
            "Last sign-in of a service principal or managed identity as itself.",
        ),
        computed(
            "source",
            TEXT,
            "Where the sign-ins of a user come from: user_sign_in_activity (which counts failed "
            "ones too), or sign_ins (successful ones of the last 90 days).",
        ),
        computed(
            "idle_since",
            TIME,
            "The principal has certainly not signed in since: from then on no access of it was "
            "used. Null when that is not known.",
        ),
        computed("last_directory_change", TIME, "Last successful entry in the audit log by it."),
        computed("directory_changes_30d", INT64, "Such entries of the last 30 days."),
        computed("directory_changes_90d", INT64, "Such entries of the last 90 days."),
    ),
)

USAGE_COVERAGE = Table(
    name="usage_coverage",
    doc="What the statements on use rest on: the feeds, and the time that each covers.",
    group="access",
    key=("feed",),
    columns=(
        computed("feed", TEXT, "sign_ins, directory_audits or user_sign_in_activity."),
        computed("as_of", TIME, "The moment that 30 and 90 days are counted back from."),
        computed("status", TEXT, "How the last reading of the feed ended; never: it was not read."),
        computed("reason", TEXT, "Why it is not whole."),
        computed(
            "since",
            TIME,
            "Without a gap from here on: no event means no use. Null when the feed is too old or "
            "was not read. user_sign_in_activity speaks for each user itself.",
        ),
        computed("until", TIME, "Events up to here are counted."),
        computed("covers_30d", BOOL, "No event in 30 days means no use in 30 days."),
        computed("covers_90d", BOOL, "No event in 90 days means no use in 90 days."),
    ),
)

TABLES = (USAGE, ROLE_USAGE, PRINCIPAL_USAGE, USAGE_COVERAGE)
