"""Groups, who is in them, who owns them, who may become either by PIM; administrative units."""

from entra_pipeline.tables.model import (
    BOOL,
    TEXT,
    TEXTS,
    TIME,
    Column,
    Reference,
    Table,
    column,
    computed,
    structs,
)

GROUP_READ = ("GroupMember.Read.All", "Group.Read.All", "Directory.Read.All")

GROUPS = Table(
    name="groups",
    doc="Groups of every kind that Graph knows; dynamic distribution groups are Exchange's alone.",
    group="directory",
    key=("id",),
    permissions=GROUP_READ,
    reader="groups",
    source_doc="https://learn.microsoft.com/graph/api/group-list",
    path="/groups",
    entity="group",
    columns=(
        column("id", TEXT, "Object id."),
        column("display_name", TEXT, "Name."),
        column("description", TEXT, "Description."),
        column("mail", TEXT, "Mail address."),
        column("mail_nickname", TEXT, "Mail alias."),
        computed("kind", TEXT, "security, microsoft_365, mail_enabled_security or distribution."),
        computed("is_dynamic", BOOL, "Members follow from a rule."),
        column("group_types", TEXTS, "Unified, DynamicMembership, or neither."),
        column("security_enabled", BOOL, "Can be given access."),
        column("mail_enabled", BOOL, "Can receive mail."),
        column("is_assignable_to_role", BOOL, "May hold directory roles; cannot nest groups."),
        column("visibility", TEXT, "Public, Private, HiddenMembership or null."),
        column("membership_rule", TEXT, "The rule of a dynamic group."),
        column("membership_rule_processing_state", TEXT, "On or Paused."),
        column("classification", TEXT, "Classification, such as low business impact."),
        column("created_date_time", TIME, "When it was created."),
        column("deleted_date_time", TIME, "When it was deleted, for soft-deleted groups."),
        column("expiration_date_time", TIME, "When it expires unless renewed."),
        column("renewed_date_time", TIME, "When it was last renewed."),
        column("proxy_addresses", TEXTS, "All addresses, the primary with upper-case SMTP:."),
        column("resource_provisioning_options", TEXTS, "Contains Team when a team stands on it."),
        column("resource_behavior_options", TEXTS, "Behaviour set at creation."),
        column("is_archived", BOOL, "The team on it is archived."),
        column("unique_name", TEXT, "Alternate key set by the creator."),
        column("is_management_restricted", BOOL, "In a restricted administrative unit."),
        column(
            "on_premises_sync_enabled",
            BOOL,
            "True: synced from a local directory; false: no longer; null: never was.",
        ),
        column("on_premises_domain_name", TEXT, "Domain in Active Directory."),
        column("on_premises_net_bios_name", TEXT, "NetBIOS name of that domain."),
        column("on_premises_sam_account_name", TEXT, "Pre-Windows 2000 name."),
        column("on_premises_security_identifier", TEXT, "SID in Active Directory."),
        column("on_premises_last_sync_date_time", TIME, "When it was last synced."),
        column("security_identifier", TEXT, "SID in Entra ID."),
        column("preferred_language", TEXT, "Preferred language, ISO 639-1."),
        column("theme", TEXT, "Colour theme."),
        column("assigned_labels", structs(label_id=TEXT, display_name=TEXT), "Sensitivity labels."),
        column(
            "assigned_licenses",
            structs(sku_id=TEXT, disabled_plans=TEXTS),
            "Licences that direct members get from the group.",
        ),
        column(
            "license_processing_state",
            TEXT,
            "QueuedForProcessing, ProcessingInProgress or ProcessingComplete.",
            "licenseProcessingState.state",
        ),
    ),
)

MEMBER_KIND = "user, group, service_principal, device, contact, application or unknown."

GROUP_MEMBERS = Table(
    name="group_members",
    doc="Direct members of groups, service principals included; active PIM memberships too.",
    group="directory",
    key=("group_id", "member_id"),
    permissions=GROUP_READ,
    references=(Reference(("group_id",), "groups"),),
    reader="groups",
    source_doc="https://learn.microsoft.com/graph/api/group-list-members",
    path="/groups/{id}/members",
    entity="directoryObject",
    parent="groups",
    within=("members",),
    columns=(
        computed("group_id", TEXT, "Object id of the group."),
        column("member_id", TEXT, "Object id of the member.", "id"),
        computed("member_kind", TEXT, MEMBER_KIND),
    ),
)

GROUP_OWNERS = Table(
    name="group_owners",
    doc="Owners of groups: users and service principals.",
    group="directory",
    key=("group_id", "owner_id"),
    permissions=GROUP_READ,
    references=(Reference(("group_id",), "groups"),),
    reader="group_owners",
    source_doc="https://learn.microsoft.com/graph/api/group-list-owners",
    path="/groups/{id}/owners",
    entity="directoryObject",
    parent="groups",
    within=("owners",),
    columns=(
        computed("group_id", TEXT, "Object id of the group."),
        column("owner_id", TEXT, "Object id of the owner.", "id"),
        computed("owner_kind", TEXT, MEMBER_KIND),
    ),
)


def _group_pim_columns(schedule: str) -> tuple[Column, ...]:
    """What both PIM tables share; `schedule` is the property that names the schedule."""
    name = "assignment_schedule_id" if "assignment" in schedule else "eligibility_schedule_id"
    return (
        column("id", TEXT, "Id of the instance."),
        column("group_id", TEXT, "Object id of the group."),
        column("principal_id", TEXT, "Object id of the holder."),
        column("access_id", TEXT, "member or owner."),
        column("member_type", TEXT, "direct, or group when it comes by another group."),
        (
            column("assignment_type", TEXT, "assigned, or activated from an eligibility.")
            if "assignment" in schedule
            else computed("assignment_type", TEXT, "Always eligible.")
        ),
        column(name, TEXT, "The schedule that it belongs to.", schedule),
        column("start_date_time", TIME, "Start of the window."),
        column("end_date_time", TIME, "End of the window; null: no end."),
    )


GROUP_ELIGIBILITY_SCHEDULE_INSTANCES = Table(
    name="group_eligibility_schedule_instances",
    doc="PIM for groups: who may activate membership or ownership. Role-assignable groups and "
    "those that the settings name.",
    group="directory",
    key=("id",),
    permissions=("PrivilegedEligibilitySchedule.Read.AzureADGroup",),
    license="p2",
    references=(Reference(("group_id",), "groups"),),
    reader="group_pim",
    source_doc=(
        "https://learn.microsoft.com/graph/api/"
        "privilegedaccessgroup-list-eligibilityscheduleinstances"
    ),
    path="/identityGovernance/privilegedAccess/group/eligibilityScheduleInstances",
    entity="privilegedAccessGroupEligibilityScheduleInstance",
    columns=_group_pim_columns("eligibilityScheduleId"),
)

GROUP_ASSIGNMENT_SCHEDULE_INSTANCES = Table(
    name="group_assignment_schedule_instances",
    doc="PIM for groups: who holds membership or ownership now, and how they came by it.",
    group="directory",
    key=("id",),
    permissions=("PrivilegedAssignmentSchedule.Read.AzureADGroup",),
    license="p2",
    references=(Reference(("group_id",), "groups"),),
    reader="group_pim",
    source_doc=(
        "https://learn.microsoft.com/graph/api/"
        "privilegedaccessgroup-list-assignmentscheduleinstances"
    ),
    path="/identityGovernance/privilegedAccess/group/assignmentScheduleInstances",
    entity="privilegedAccessGroupAssignmentScheduleInstance",
    columns=_group_pim_columns("assignmentScheduleId"),
)

ADMINISTRATIVE_UNITS = Table(
    name="administrative_units",
    doc="Administrative units: containers that roles can be scoped to.",
    group="directory",
    key=("id",),
    permissions=("AdministrativeUnit.Read.All", "Directory.Read.All"),
    reader="administrative_units",
    source_doc="https://learn.microsoft.com/graph/api/directory-list-administrativeunits",
    path="/directory/administrativeUnits",
    entity="administrativeUnit",
    columns=(
        column("id", TEXT, "Object id."),
        column("display_name", TEXT, "Name."),
        column("description", TEXT, "Description."),
        column("visibility", TEXT, "HiddenMembership or null (public)."),
        column(
            "is_member_management_restricted",
            BOOL,
            "Only administrators scoped to the unit can change its members.",
        ),
        column("membership_type", TEXT, "Dynamic, Assigned or null (assigned)."),
        column("membership_rule", TEXT, "The rule of a dynamic unit."),
        column("membership_rule_processing_state", TEXT, "On or Paused."),
        column("deleted_date_time", TIME, "When it was deleted, for soft-deleted units."),
    ),
)

ADMINISTRATIVE_UNIT_MEMBERS = Table(
    name="administrative_unit_members",
    doc="Members of administrative units: users, groups and devices.",
    group="directory",
    key=("unit_id", "member_id"),
    permissions=("AdministrativeUnit.Read.All", "Directory.Read.All"),
    references=(Reference(("unit_id",), "administrative_units"),),
    reader="administrative_units",
    source_doc="https://learn.microsoft.com/graph/api/administrativeunit-list-members",
    path="/directory/administrativeUnits/{id}/members",
    entity="directoryObject",
    parent="administrative_units",
    within=("members",),
    columns=(
        computed("unit_id", TEXT, "Object id of the administrative unit."),
        column("member_id", TEXT, "Object id of the member.", "id"),
        computed("member_kind", TEXT, MEMBER_KIND),
    ),
)

TABLES = (
    GROUPS,
    GROUP_MEMBERS,
    GROUP_OWNERS,
    GROUP_ELIGIBILITY_SCHEDULE_INSTANCES,
    GROUP_ASSIGNMENT_SCHEDULE_INSTANCES,
    ADMINISTRATIVE_UNITS,
    ADMINISTRATIVE_UNIT_MEMBERS,
)
