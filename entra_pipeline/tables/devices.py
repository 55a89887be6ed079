"""Devices and their owners."""

from entra_pipeline.tables.model import (
    BOOL,
    INT32,
    TEXT,
    TEXTS,
    TIME,
    Reference,
    Table,
    column,
    computed,
)

DEVICE_READ = ("Device.Read.All", "Directory.Read.All")

DEVICES = Table(
    name="devices",
    doc="Devices that are registered with, or joined to, the tenant.",
    group="directory",
    key=("id",),
    permissions=DEVICE_READ,
    reader="devices",
    source_doc="https://learn.microsoft.com/graph/api/device-list",
    path="/devices",
    entity="device",
    columns=(
        column("id", TEXT, "Object id."),
        column("device_id", TEXT, "Id that the device registration service gave."),
        column("display_name", TEXT, "Name."),
        column("account_enabled", BOOL, "False when it cannot sign in."),
        column("operating_system", TEXT, "Operating system."),
        column("operating_system_version", TEXT, "Its version."),
        column("trust_type", TEXT, "Workplace, AzureAd or ServerAd."),
        column("profile_type", TEXT, "RegisteredDevice, SecureVM, Printer, Shared or IoT."),
        column("device_ownership", TEXT, "company, personal or unknown."),
        column("device_category", TEXT, "Category given by Intune."),
        column("device_version", INT32, "For internal use."),
        column("manufacturer", TEXT, "Manufacturer."),
        column("model", TEXT, "Model."),
        column("is_compliant", BOOL, "Complies with the management policies."),
        column("is_managed", BOOL, "Managed by a management application."),
        column("is_rooted", BOOL, "Rooted or jail-broken."),
        column("is_management_restricted", BOOL, "In a restricted administrative unit."),
        column("management_type", TEXT, "Channel that it is managed by."),
        column("mdm_app_id", TEXT, "Application that manages it."),
        column("enrollment_type", TEXT, "How it was enrolled in Intune."),
        column("enrollment_profile_name", TEXT, "Profile that it was enrolled with."),
        column("registration_date_time", TIME, "When it was registered."),
        column("approximate_last_sign_in_date_time", TIME, "When it last signed in, about."),
        column("compliance_expiration_date_time", TIME, "When its compliance lapses."),
        column("deleted_date_time", TIME, "When it was deleted, for soft-deleted ones."),
        column("on_premises_sync_enabled", BOOL, "True when synced from a local directory."),
        column("on_premises_last_sync_date_time", TIME, "When it was last synced."),
        column("on_premises_security_identifier", TEXT, "SID in Active Directory."),
        column("system_labels", TEXTS, "Labels set by the system."),
        column("physical_ids", TEXTS, "Hardware ids, for internal use."),
    ),
)

DEVICE_OWNERS = Table(
    name="device_owners",
    doc="Registered owners of devices.",
    group="directory",
    key=("device_id", "owner_id"),
    permissions=DEVICE_READ,
    references=(Reference(("device_id",), "devices"),),
    reader="devices",
    source_doc="https://learn.microsoft.com/graph/api/device-list-registeredowners",
    path="/devices/{id}/registeredOwners",
    entity="directoryObject",
    parent="devices",
    within=("registeredOwners",),
    columns=(
        computed("device_id", TEXT, "Object id of the device (devices.id, not its device_id)."),
        column("owner_id", TEXT, "Object id of the owner.", "id"),
        computed("owner_kind", TEXT, "user, service_principal or unknown."),
    ),
)

TABLES = (DEVICES, DEVICE_OWNERS)
