"""Activity: sign-ins, the directory's audit log, provisioning into applications.

Events, not state: they are read in windows of time, appended by day (`lake.events`), and no part
of an ordinary sync or of the warehouse. Hence a registry of their own, `EVENTS` beside `TABLES`.

Texts are as Graph sends them, but for `old_value` and `new_value` of changed properties: Graph
encodes these twice (`"\\"Sales\\""`), and the encoding is taken off where the value is a text.
Where it is a list or an object it stays JSON.
"""

from entra_pipeline.tables.model import (
    BOOL,
    INT32,
    TEXT,
    TEXTS,
    TIME,
    Table,
    column,
    struct,
    structs,
)

MODIFIED_PROPERTIES = structs(display_name=TEXT, old_value=TEXT, new_value=TEXT)

SIGN_INS = Table(
    name="sign_ins",
    doc="Sign-ins of users, interactive and federated; Graph v1.0 has no others.",
    group="activity",
    key=("id",),
    time="created_date_time",
    permissions=("AuditLog.Read.All",),
    license="p1",
    reader="activity",
    source_doc="https://learn.microsoft.com/graph/api/signin-list",
    path="/auditLogs/signIns",
    entity="signIn",
    columns=(
        column("id", TEXT, "Id of the sign-in."),
        column("created_date_time", TIME, "When the sign-in began."),
        column("user_id", TEXT, "Object id of the user."),
        column("user_principal_name", TEXT, "Sign-in name of the user."),
        column("user_display_name", TEXT, "Name of the user."),
        column("app_id", TEXT, "Application (client) id of the application."),
        column("app_display_name", TEXT, "Name of the application."),
        column("service_principal_id", TEXT, "Object id of the application that signed in."),
        column("service_principal_name", TEXT, "Name of the application that signed in."),
        column("resource_id", TEXT, "Application id of the resource that was asked for."),
        column("resource_display_name", TEXT, "Name of the resource."),
        column("resource_tenant_id", TEXT, "Tenant of the resource."),
        column("home_tenant_id", TEXT, "Tenant of the user."),
        column("correlation_id", TEXT, "Same for all that one request by a client caused."),
        column("client_app_used", TEXT, "Kind of client: Browser, IMAP4 and so on."),
        column("is_interactive", BOOL, "The user took part."),
        column("ip_address", TEXT, "Address of the client."),
        column("user_agent", TEXT, "The client, as it calls itself."),
        column(
            "error_code", INT32, "0 when it succeeded, else the AADSTS code.", "status.errorCode"
        ),
        column("failure_reason", TEXT, "The code in words.", "status.failureReason"),
        column("status_details", TEXT, "Further to the outcome.", "status.additionalDetails"),
        column("conditional_access_status", TEXT, "success, failure or notApplied."),
        column(
            "applied_conditional_access_policies",
            structs(
                id=TEXT,
                display_name=TEXT,
                result=TEXT,
                enforced_grant_controls=TEXTS,
                enforced_session_controls=TEXTS,
            ),
            "Policies considered and their result; empty without Policy.Read.ConditionalAccess.",
        ),
        column(
            "device_detail",
            struct(
                device_id=TEXT,
                display_name=TEXT,
                operating_system=TEXT,
                browser=TEXT,
                is_compliant=BOOL,
                is_managed=BOOL,
                trust_type=TEXT,
            ),
            "Device that was used.",
        ),
        column(
            "location",
            struct(city=TEXT, state=TEXT, country_or_region=TEXT),
            "Place, by the address of the client.",
        ),
        column("risk_detail", TEXT, "Why the risk is as it is."),
        column("risk_event_types", TEXTS, "Risks that were noticed.", "riskEventTypes_v2"),
        column(
            "risk_level_aggregated", TEXT, "Risk with what is known of the user; hidden without P2."
        ),
        column("risk_level_during_sign_in", TEXT, "Risk at the time; hidden without P2."),
        column("risk_state", TEXT, "none, remediated, dismissed, atRisk and so on."),
    ),
)

DIRECTORY_AUDITS = Table(
    name="directory_audits",
    doc="Who changed what in the directory.",
    group="activity",
    key=("id",),
    time="activity_date_time",
    permissions=("AuditLog.Read.All", "Directory.Read.All"),
    all_of=True,
    absent_clouds=frozenset({"china"}),
    reader="activity",
    source_doc="https://learn.microsoft.com/graph/api/directoryaudit-list",
    path="/auditLogs/directoryAudits",
    entity="directoryAudit",
    columns=(
        column("id", TEXT, "Id of the event."),
        column("activity_date_time", TIME, "When it happened."),
        column("activity_display_name", TEXT, "What was done, in words that change at times."),
        column("category", TEXT, "UserManagement, GroupManagement, RoleManagement and so on."),
        column("operation_type", TEXT, "Add, Assign, Update, Unassign, Delete and so on."),
        column("logged_by_service", TEXT, "Core Directory, PIM and so on."),
        column("result", TEXT, "success, failure or timeout."),
        column("result_reason", TEXT, "Why it failed, or further to it."),
        column("correlation_id", TEXT, "Same for all that one action caused."),
        column(
            "initiated_by_user_id", TEXT, "Object id of the user who did it.", "initiatedBy.user.id"
        ),
        column(
            "initiated_by_user_principal_name",
            TEXT,
            "Sign-in name of that user.",
            "initiatedBy.user.userPrincipalName",
        ),
        column(
            "initiated_by_ip_address",
            TEXT,
            "Address of that user's client.",
            "initiatedBy.user.ipAddress",
        ),
        column(
            "initiated_by_app_id",
            TEXT,
            "Application (client) id of the application that did it.",
            "initiatedBy.app.appId",
        ),
        column(
            "initiated_by_service_principal_id",
            TEXT,
            "Object id of that application's service principal.",
            "initiatedBy.app.servicePrincipalId",
        ),
        column(
            "initiated_by_app_display_name",
            TEXT,
            "Name of that application.",
            "initiatedBy.app.displayName",
        ),
        column(
            "target_resources",
            structs(
                id=TEXT,
                display_name=TEXT,
                type=TEXT,
                user_principal_name=TEXT,
                group_type=TEXT,
                modified_properties=MODIFIED_PROPERTIES,
            ),
            "What it was done to, with what changed; values decoded.",
        ),
        column(
            "additional_details",
            structs(key=TEXT, value=TEXT),
            "Further details, by name.",
        ),
    ),
)

PROVISIONING_EVENTS = Table(
    name="provisioning_events",
    doc="What Entra ID's provisioning service did in applications, or in the directory.",
    group="activity",
    key=("id",),
    time="activity_date_time",
    permissions=("ProvisioningLog.Read.All", "AuditLog.Read.All"),
    license="p1",
    reader="activity",
    source_doc="https://learn.microsoft.com/graph/api/provisioningobjectsummary-list",
    path="/auditLogs/provisioning",
    entity="provisioningObjectSummary",
    columns=(
        column("id", TEXT, "Id of the event."),
        column("activity_date_time", TIME, "When it happened."),
        column(
            "provisioning_action", TEXT, "create, update, delete, disable, stagedDelete or other."
        ),
        column(
            "status",
            TEXT,
            "success, failure, skipped or warning.",
            "provisioningStatusInfo.status",
        ),
        column(
            "error_code",
            TEXT,
            "Code of the failure.",
            "provisioningStatusInfo.errorInformation.errorCode",
        ),
        column(
            "error_category",
            TEXT,
            "Kind of the failure.",
            "provisioningStatusInfo.errorInformation.errorCategory",
        ),
        column(
            "error_reason",
            TEXT,
            "The failure in words.",
            "provisioningStatusInfo.errorInformation.reason",
        ),
        column("tenant_id", TEXT, "Tenant of the job."),
        column("job_id", TEXT, "Id of the synchronization job."),
        column("cycle_id", TEXT, "Id of the job's cycle."),
        column("change_id", TEXT, "Id of the change."),
        column("duration_in_milliseconds", INT32, "How long it took."),
        column(
            "service_principal_id",
            TEXT,
            "Object id of the application provisioned into.",
            "servicePrincipal.id",
        ),
        column(
            "service_principal_name",
            TEXT,
            "Name of that application.",
            "servicePrincipal.displayName",
        ),
        column("initiated_by_id", TEXT, "Id of who or what started it.", "initiatedBy.id"),
        column(
            "initiated_by_display_name",
            TEXT,
            "Name of who or what started it.",
            "initiatedBy.displayName",
        ),
        column(
            "initiated_by_type",
            TEXT,
            "user, application or system.",
            "initiatedBy.initiatorType",
        ),
        column("source_system_id", TEXT, "Where the change came from.", "sourceSystem.id"),
        column("source_system_name", TEXT, "Name of that system.", "sourceSystem.displayName"),
        column("source_identity_id", TEXT, "Id of the object there.", "sourceIdentity.id"),
        column(
            "source_identity_name", TEXT, "Name of the object there.", "sourceIdentity.displayName"
        ),
        column(
            "source_identity_type", TEXT, "Kind of the object there.", "sourceIdentity.identityType"
        ),
        column("target_system_id", TEXT, "Where the change went.", "targetSystem.id"),
        column("target_system_name", TEXT, "Name of that system.", "targetSystem.displayName"),
        column("target_identity_id", TEXT, "Id of the object there.", "targetIdentity.id"),
        column(
            "target_identity_name", TEXT, "Name of the object there.", "targetIdentity.displayName"
        ),
        column(
            "target_identity_type", TEXT, "Kind of the object there.", "targetIdentity.identityType"
        ),
        column("modified_properties", MODIFIED_PROPERTIES, "What changed; values decoded."),
        column(
            "provisioning_steps",
            structs(name=TEXT, provisioning_step_type=TEXT, status=TEXT, description=TEXT),
            "The steps taken.",
        ),
    ),
)

TABLES = (SIGN_INS, DIRECTORY_AUDITS, PROVISIONING_EVENTS)
