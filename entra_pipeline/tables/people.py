"""People: users, when they last signed in, how they can prove who they are."""

from entra_pipeline.tables.model import (
    BOOL,
    TEXT,
    TEXTS,
    TIME,
    Reference,
    Table,
    column,
    struct,
    structs,
)

ON_PREMISES_EXTENSION_ATTRIBUTES = struct(
    **{f"extension_attribute{number}": TEXT for number in range(1, 16)}
)

USERS = Table(
    name="users",
    doc="Users, members and guests alike.",
    group="directory",
    key=("id",),
    permissions=("User.Read.All", "Directory.Read.All"),
    references=(Reference(("manager_id",), "users"),),
    reader="users",
    source_doc="https://learn.microsoft.com/graph/api/user-list",
    path="/users",
    entity="user",
    columns=(
        column("id", TEXT, "Object id."),
        column("user_principal_name", TEXT, "Sign-in name."),
        column("display_name", TEXT, "Name shown in address books."),
        column("given_name", TEXT, "First name."),
        column("surname", TEXT, "Last name."),
        column("mail", TEXT, "Primary mail address."),
        column("mail_nickname", TEXT, "Mail alias."),
        column("other_mails", TEXTS, "Further mail addresses."),
        column("proxy_addresses", TEXTS, "All addresses, the primary with upper-case SMTP:."),
        column("account_enabled", BOOL, "False when sign-in is blocked."),
        column("user_type", TEXT, "Member or Guest; null for some old accounts."),
        column(
            "creation_type", TEXT, "How it came to be: null, Invitation, LocalAccount and so on."
        ),
        column("external_user_state", TEXT, "Invited users: PendingAcceptance or Accepted."),
        column("external_user_state_change_date_time", TIME, "When that state last changed."),
        column("created_date_time", TIME, "When the account was created."),
        column("deleted_date_time", TIME, "When it was deleted, for soft-deleted users."),
        column("manager_id", TEXT, "Object id of the manager.", "manager.id", navigation=True),
        column("employee_id", TEXT, "Number given by the organization."),
        column("employee_type", TEXT, "Employee, Contractor, Consultant and so on."),
        column("employee_hire_date", TIME, "Start of employment."),
        column(
            "employee_org_data",
            struct(cost_center=TEXT, division=TEXT),
            "Cost centre and division.",
        ),
        column("department", TEXT, "Department."),
        column("company_name", TEXT, "Company; for guests their own."),
        column("job_title", TEXT, "Job title."),
        column("office_location", TEXT, "Office."),
        column("city", TEXT, "City."),
        column("state", TEXT, "State or province."),
        column("country", TEXT, "Country or region."),
        column("usage_location", TEXT, "Country that licences are used in, ISO 3166-1 alpha-2."),
        column("mobile_phone", TEXT, "Mobile telephone number."),
        column("business_phones", TEXTS, "Business telephone number, one at most."),
        column("preferred_language", TEXT, "Preferred language, ISO 639-1."),
        column(
            "on_premises_sync_enabled",
            BOOL,
            "True: synced from a local directory; false: no longer; null: never was.",
        ),
        column("on_premises_immutable_id", TEXT, "Links the user to its local account."),
        column("on_premises_distinguished_name", TEXT, "Distinguished name in Active Directory."),
        column("on_premises_domain_name", TEXT, "Domain in Active Directory."),
        column("on_premises_sam_account_name", TEXT, "Pre-Windows 2000 name."),
        column("on_premises_security_identifier", TEXT, "SID in Active Directory."),
        column("on_premises_user_principal_name", TEXT, "Sign-in name in Active Directory."),
        column("on_premises_last_sync_date_time", TIME, "When it was last synced."),
        column(
            "on_premises_extension_attributes",
            ON_PREMISES_EXTENSION_ATTRIBUTES,
            "Extension attributes 1 to 15; null unless the setting asks for them.",
        ),
        column(
            "assigned_licenses",
            structs(sku_id=TEXT, disabled_plans=TEXTS),
            "Licences in effect, direct and by group; license_assignments says which.",
        ),
        column("password_policies", TEXT, "DisablePasswordExpiration, DisableStrongPassword."),
        column("last_password_change_date_time", TIME, "When the password was last changed."),
        column(
            "sign_in_sessions_valid_from_date_time",
            TIME,
            "Sessions and refresh tokens from before are refused.",
        ),
        column(
            "identities",
            structs(sign_in_type=TEXT, issuer=TEXT, issuer_assigned_id=TEXT),
            "What the user can sign in with.",
        ),
        column("is_resource_account", BOOL, "Reserved by Microsoft."),
        column("age_group", TEXT, "Minor, NotAdult, Adult or null."),
        column("security_identifier", TEXT, "SID in Entra ID."),
        column("is_management_restricted", BOOL, "In a restricted administrative unit."),
    ),
)

USER_SIGN_IN_ACTIVITY = Table(
    name="user_sign_in_activity",
    doc="When users last signed in. Slow: Graph allows ten pages of 500 users a minute.",
    group="directory",
    key=("user_id",),
    permissions=("AuditLog.Read.All", "User.Read.All"),
    all_of=True,
    license="p1",
    references=(Reference(("user_id",), "users"),),
    slow=True,
    reader="sign_in_activity",
    source_doc="https://learn.microsoft.com/graph/api/resources/signinactivity",
    path="/users",
    entity="user",
    columns=(
        column("user_id", TEXT, "Object id of the user.", "id"),
        column(
            "last_sign_in_date_time",
            TIME,
            "Last interactive sign-in, successful or not.",
            "signInActivity.lastSignInDateTime",
        ),
        column(
            "last_sign_in_request_id",
            TEXT,
            "Request id of that sign-in.",
            "signInActivity.lastSignInRequestId",
        ),
        column(
            "last_non_interactive_sign_in_date_time",
            TIME,
            "Last sign-in by a client on the user's behalf, successful or not.",
            "signInActivity.lastNonInteractiveSignInDateTime",
        ),
        column(
            "last_non_interactive_sign_in_request_id",
            TEXT,
            "Request id of that sign-in.",
            "signInActivity.lastNonInteractiveSignInRequestId",
        ),
        column(
            "last_successful_sign_in_date_time",
            TIME,
            "Last successful sign-in of either kind; kept by Microsoft since December 2023.",
            "signInActivity.lastSuccessfulSignInDateTime",
        ),
        column(
            "last_successful_sign_in_request_id",
            TEXT,
            "Request id of that sign-in.",
            "signInActivity.lastSuccessfulSignInRequestId",
        ),
    ),
)

USER_REGISTRATION_DETAILS = Table(
    name="user_registration_details",
    doc="Which authentication methods users have registered. Slow: half a request a second.",
    group="directory",
    key=("id",),
    permissions=("AuditLog.Read.All",),
    license="p1",
    references=(Reference(("id",), "users"),),
    slow=True,
    reader="registration_details",
    source_doc=(
        "https://learn.microsoft.com/graph/api/"
        "authenticationmethodsroot-list-userregistrationdetails"
    ),
    path="/reports/authenticationMethods/userRegistrationDetails",
    entity="userRegistrationDetails",
    columns=(
        column("id", TEXT, "Object id of the user."),
        column("user_principal_name", TEXT, "Sign-in name."),
        column("user_display_name", TEXT, "Name."),
        column("user_type", TEXT, "member or guest."),
        column("is_admin", BOOL, "Holds an administrative role."),
        column("is_mfa_capable", BOOL, "Has a strong method registered that policy allows."),
        column("is_mfa_registered", BOOL, "Has a strong method registered."),
        column("is_passwordless_capable", BOOL, "Can sign in without a password."),
        column("is_sspr_capable", BOOL, "Can reset the password alone."),
        column("is_sspr_enabled", BOOL, "May reset the password alone."),
        column("is_sspr_registered", BOOL, "Has registered enough to reset the password."),
        column(
            "is_system_preferred_authentication_method_enabled",
            BOOL,
            "The most secure method is asked for first.",
        ),
        column("methods_registered", TEXTS, "Registered methods."),
        column(
            "system_preferred_authentication_methods", TEXTS, "Methods that the system prefers."
        ),
        column(
            "user_preferred_method_for_secondary_authentication",
            TEXT,
            "Method that the user chose as default.",
        ),
        column("last_updated_date_time", TIME, "When this record was updated."),
    ),
)

TABLES = (USERS, USER_SIGN_IN_ACTIVITY, USER_REGISTRATION_DETAILS)
