"""Policies that act on access: Conditional Access, provisioning into other software."""

from entra_pipeline.tables.model import (
    BOOL,
    INT32,
    INT64,
    TEXT,
    TEXTS,
    TIME,
    Reference,
    Table,
    column,
    computed,
    struct,
    structs,
)

_FILTER = struct(mode=TEXT, rule=TEXT)
_GUESTS = struct(
    guest_or_external_user_types=TEXT,
    external_tenants=struct(membership_kind=TEXT, members=TEXTS),
)

CONDITIONAL_ACCESS_POLICIES = Table(
    name="conditional_access_policies",
    doc="Conditional Access policies: when they apply and what they ask for.",
    group="directory",
    key=("id",),
    permissions=("Policy.Read.ConditionalAccess", "Policy.Read.All"),
    license="p1",
    reader="conditional_access_policies",
    source_doc="https://learn.microsoft.com/graph/api/conditionalaccessroot-list-policies",
    path="/identity/conditionalAccess/policies",
    entity="conditionalAccessPolicy",
    columns=(
        column("id", TEXT, "Id of the policy."),
        column("display_name", TEXT, "Name."),
        column("description", TEXT, "Description."),
        column("state", TEXT, "enabled, disabled or enabledForReportingButNotEnforced."),
        column("template_id", TEXT, "Template that it was made from."),
        column("created_date_time", TIME, "When it was created."),
        column("modified_date_time", TIME, "When it was changed."),
        column("deleted_date_time", TIME, "When it was deleted, for soft-deleted ones."),
        column(
            "conditions",
            struct(
                users=struct(
                    include_users=TEXTS,
                    exclude_users=TEXTS,
                    include_groups=TEXTS,
                    exclude_groups=TEXTS,
                    include_roles=TEXTS,
                    exclude_roles=TEXTS,
                    include_guests_or_external_users=_GUESTS,
                    exclude_guests_or_external_users=_GUESTS,
                ),
                applications=struct(
                    include_applications=TEXTS,
                    exclude_applications=TEXTS,
                    include_user_actions=TEXTS,
                    include_authentication_context_class_references=TEXTS,
                    application_filter=_FILTER,
                ),
                client_applications=struct(
                    include_service_principals=TEXTS,
                    exclude_service_principals=TEXTS,
                    service_principal_filter=_FILTER,
                ),
                client_app_types=TEXTS,
                devices=struct(device_filter=_FILTER),
                locations=struct(include_locations=TEXTS, exclude_locations=TEXTS),
                platforms=struct(include_platforms=TEXTS, exclude_platforms=TEXTS),
                authentication_flows=struct(transfer_methods=TEXT),
                user_risk_levels=TEXTS,
                sign_in_risk_levels=TEXTS,
                service_principal_risk_levels=TEXTS,
                insider_risk_levels=TEXT,
            ),
            "Who, what, from where and how: all must hold for the policy to apply.",
        ),
        column(
            "grant_controls",
            struct(
                operator=TEXT,
                built_in_controls=TEXTS,
                custom_authentication_factors=TEXTS,
                terms_of_use=TEXTS,
            ),
            "What must be fulfilled to get access, or block.",
        ),
        column(
            "session_controls",
            struct(
                disable_resilience_defaults=BOOL,
                application_enforced_restrictions=struct(is_enabled=BOOL),
                cloud_app_security=struct(is_enabled=BOOL, cloud_app_security_type=TEXT),
                persistent_browser=struct(is_enabled=BOOL, mode=TEXT),
                secure_sign_in_session=struct(is_enabled=BOOL),
                sign_in_frequency=struct(
                    is_enabled=BOOL,
                    value=INT32,
                    type=TEXT,
                    authentication_type=TEXT,
                    frequency_interval=TEXT,
                ),
            ),
            "How the session is limited.",
        ),
    ),
)

_EXECUTION = struct(
    state=TEXT,
    time_began=TIME,
    time_ended=TIME,
    count_entitled=INT64,
    count_exported=INT64,
    count_imported=INT64,
    count_escrowed=INT64,
    error=struct(code=TEXT, message=TEXT, tenant_actionable=BOOL),
)

SYNCHRONIZATION_JOBS = Table(
    name="synchronization_jobs",
    doc="Provisioning jobs: which applications Entra ID creates and removes accounts in, and "
    "whether that works. Slow: one request a service principal.",
    group="directory",
    key=("service_principal_id", "id"),
    permissions=("Synchronization.Read.All",),
    references=(Reference(("service_principal_id",), "service_principals"),),
    slow=True,
    reader="synchronization_jobs",
    source_doc="https://learn.microsoft.com/graph/api/synchronization-synchronization-list-jobs",
    path="/servicePrincipals/{id}/synchronization/jobs",
    entity="synchronizationJob",
    parent="service_principals",
    within=("synchronization",),
    columns=(
        computed("service_principal_id", TEXT, "Object id of the application provisioned into."),
        column("id", TEXT, "Id of the job, unique within its service principal."),
        column("template_id", TEXT, "Template of the job."),
        column("schedule_state", TEXT, "Active, Disabled or Paused.", "schedule.state"),
        column("schedule_interval", TEXT, "Time between runs, ISO 8601.", "schedule.interval"),
        column(
            "status_code",
            TEXT,
            "NotConfigured, NotRun, Active, Paused or Quarantine.",
            "status.code",
        ),
        column(
            "count_successive_complete_failures",
            INT64,
            "Runs that failed as a whole, in a row.",
            "status.countSuccessiveCompleteFailures",
        ),
        column(
            "steady_state_last_achieved_time",
            TIME,
            "When it last had nothing left to do.",
            "status.steadyStateLastAchievedTime",
        ),
        column(
            "synchronized_entry_count_by_type",
            structs(key=TEXT, value=INT64),
            "Objects in step, by type.",
            "status.synchronizedEntryCountByType",
        ),
        column("last_execution", _EXECUTION, "The last run.", "status.lastExecution"),
        column(
            "last_successful_execution",
            _EXECUTION,
            "The last run that succeeded.",
            "status.lastSuccessfulExecution",
        ),
        column(
            "quarantine_reason",
            TEXT,
            "Why it is in quarantine; null when it is not.",
            "status.quarantine.reason",
        ),
        column(
            "quarantine_began",
            TIME,
            "Since when it is in quarantine.",
            "status.quarantine.currentBegan",
        ),
        column(
            "quarantine_next_attempt",
            TIME,
            "When it will be tried again.",
            "status.quarantine.nextAttempt",
        ),
        column(
            "troubleshooting_url",
            TEXT,
            "Microsoft's page on the trouble.",
            "status.troubleshootingUrl",
        ),
    ),
)

TABLES = (CONDITIONAL_ACCESS_POLICIES, SYNCHRONIZATION_JOBS)
