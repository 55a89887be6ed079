"""Licences: what the tenant owns and who holds it, directly or by a group."""

from entra_pipeline.tables.model import (
    INT32,
    TEXT,
    TEXTS,
    TIME,
    Reference,
    Table,
    column,
    computed,
    structs,
)

SUBSCRIBED_SKUS = Table(
    name="subscribed_skus",
    doc="Products that the tenant subscribes to, with their units.",
    group="directory",
    key=("sku_id",),
    permissions=("LicenseAssignment.Read.All", "Organization.Read.All", "Directory.Read.All"),
    reader="subscribed_skus",
    source_doc="https://learn.microsoft.com/graph/api/subscribedsku-list",
    path="/subscribedSkus",
    entity="subscribedSku",
    columns=(
        column("sku_id", TEXT, "Id of the product, the same in every tenant."),
        column("id", TEXT, "Tenant id and product id, joined by an underscore."),
        column("sku_part_number", TEXT, "Short name, such as SPE_E5."),
        column("applies_to", TEXT, "User or Company."),
        column("capability_status", TEXT, "Enabled, Warning, Suspended, Deleted or LockedOut."),
        column("consumed_units", INT32, "Units in use."),
        column("enabled_units", INT32, "Units that can be used.", "prepaidUnits.enabled"),
        column("warning_units", INT32, "Units in their grace period.", "prepaidUnits.warning"),
        column("suspended_units", INT32, "Units that expired.", "prepaidUnits.suspended"),
        column("locked_out_units", INT32, "Units that were cancelled.", "prepaidUnits.lockedOut"),
        column(
            "service_plans",
            structs(
                service_plan_id=TEXT,
                service_plan_name=TEXT,
                provisioning_status=TEXT,
                applies_to=TEXT,
            ),
            "Services in the product.",
        ),
        column("subscription_ids", TEXTS, "Subscriptions behind it."),
        column("account_id", TEXT, "Account that it was bought with."),
        column("account_name", TEXT, "Name of that account."),
    ),
)

LICENSE_ASSIGNMENTS = Table(
    name="license_assignments",
    doc="Licences of users, one row for each way they come: directly or by a group.",
    group="directory",
    key=("user_id", "sku_id", "source_group_id"),
    permissions=("User.Read.All", "Directory.Read.All"),
    references=(
        Reference(("user_id",), "users"),
        Reference(("sku_id",), "subscribed_skus"),
    ),
    reader="users",
    source_doc="https://learn.microsoft.com/graph/api/resources/licenseassignmentstate",
    path="/users",
    entity="licenseAssignmentState",
    parent="users",
    within=("licenseAssignmentStates",),
    columns=(
        computed("user_id", TEXT, "Object id of the user."),
        column("sku_id", TEXT, "Id of the product."),
        column(
            "source_group_id",
            TEXT,
            "Object id of the group that it comes by; empty when direct.",
            "assignedByGroup",
        ),
        column("state", TEXT, "Active, ActiveWithError, Disabled or Error."),
        column("error", TEXT, "None, CountViolation, DependencyViolation and so on."),
        column("disabled_plans", TEXTS, "Services switched off in this assignment."),
        column("last_updated_date_time", TIME, "When the state last changed."),
    ),
)

TABLES = (SUBSCRIBED_SKUS, LICENSE_ASSIGNMENTS)
