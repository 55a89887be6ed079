"""The tenant itself: organization, domains, deleted objects, organisational contacts.

Declarations only; people, groups, applications and policies have files of their own.
"""

from entra_pipeline.tables.model import (
    BOOL,
    INT32,
    TEXT,
    TEXTS,
    TIME,
    Table,
    column,
    computed,
    struct,
    structs,
)

ORGANIZATION = Table(
    name="organization",
    doc="The tenant: one row, with its verified domains and the service plans it owns.",
    group="directory",
    key=("id",),
    permissions=("Organization.Read.All", "Directory.Read.All"),
    reader="organization",
    source_doc="https://learn.microsoft.com/graph/api/organization-list",
    path="/organization",
    entity="organization",
    columns=(
        column("id", TEXT, "Tenant id."),
        column("display_name", TEXT, "Name of the organization."),
        column("tenant_type", TEXT, "Kind of tenant: AAD, AAD B2C, CIAM."),
        computed(
            "license_level",
            TEXT,
            "Highest Entra ID plan that is enabled in assigned_plans: free, p1 or p2.",
        ),
        column(
            "verified_domains",
            structs(name=TEXT, type=TEXT, capabilities=TEXT, is_default=BOOL, is_initial=BOOL),
            "Domains that the tenant has proved to own.",
        ),
        column(
            "assigned_plans",
            structs(
                service_plan_id=TEXT, service=TEXT, capability_status=TEXT, assigned_date_time=TIME
            ),
            "Service plans of the tenant's subscriptions.",
        ),
        column("created_date_time", TIME, "When the tenant was created."),
        column("country_letter_code", TEXT, "Country or region, ISO 3166-1 alpha-2."),
        column("country", TEXT, "Name of the country or region."),
        column("state", TEXT, "State or province."),
        column("city", TEXT, "City."),
        column("street", TEXT, "Street."),
        column("postal_code", TEXT, "Postal code."),
        column("preferred_language", TEXT, "Preferred language, ISO 639-1."),
        column("default_usage_location", TEXT, "Usage location given to users without one."),
        column("business_phones", TEXTS, "Telephone numbers."),
        column("technical_notification_mails", TEXTS, "Who is told about technical matters."),
        column("marketing_notification_emails", TEXTS, "Who is told about offers."),
        column("security_compliance_notification_mails", TEXTS, "Who is told about incidents."),
        column(
            "privacy_profile",
            struct(contact_email=TEXT, statement_url=TEXT),
            "Privacy contact and statement.",
        ),
        column("on_premises_sync_enabled", BOOL, "True while a directory is synced into it."),
        column("on_premises_last_sync_date_time", TIME, "When that sync last ran."),
        column("partner_tenant_type", TEXT, "Kind of partner, when the tenant is one."),
    ),
)

DOMAINS = Table(
    name="domains",
    doc="Domain names of the tenant, verified or not.",
    group="directory",
    key=("id",),
    permissions=("Domain.Read.All", "Directory.Read.All"),
    reader="domains",
    source_doc="https://learn.microsoft.com/graph/api/domain-list",
    path="/domains",
    entity="domain",
    columns=(
        column("id", TEXT, "The domain name."),
        column("authentication_type", TEXT, "Managed (by Entra ID) or Federated."),
        column("is_default", BOOL, "True for the domain given to new users."),
        column("is_initial", BOOL, "True for the onmicrosoft.com domain."),
        column("is_root", BOOL, "True when no parent domain is verified here."),
        column("is_verified", BOOL, "True when ownership is proved."),
        column("is_admin_managed", BOOL, "False when the domain was created by self-service."),
        column("availability_status", TEXT, "Always null except when ownership is transferred."),
        column("supported_services", TEXTS, "What the domain is used for, such as Email."),
        column("password_validity_period_in_days", INT32, "Days until a password expires."),
        column("password_notification_window_in_days", INT32, "Days of warning before that."),
        column(
            "state",
            struct(last_action_date_time=TIME, operation=TEXT, status=TEXT),
            "Asynchronous operation in progress on the domain.",
        ),
    ),
)

CONTACTS = Table(
    name="contacts",
    doc="Organisational contacts: people outside the tenant that groups can hold as members.",
    group="directory",
    key=("id",),
    permissions=("OrgContact.Read.All", "Directory.Read.All"),
    reader="contacts",
    source_doc="https://learn.microsoft.com/graph/api/orgcontact-list",
    path="/contacts",
    entity="orgContact",
    columns=(
        column("id", TEXT, "Object id."),
        column("display_name", TEXT, "Name."),
        column("given_name", TEXT, "First name."),
        column("surname", TEXT, "Last name."),
        column("mail", TEXT, "Mail address."),
        column("mail_nickname", TEXT, "Mail alias."),
        column("proxy_addresses", TEXTS, "All addresses, the primary with upper-case SMTP:."),
        column("company_name", TEXT, "Company."),
        column("department", TEXT, "Department."),
        column("job_title", TEXT, "Job title."),
        column("phones", structs(type=TEXT, number=TEXT), "Telephone numbers."),
        column(
            "addresses",
            structs(
                street=TEXT,
                city=TEXT,
                state=TEXT,
                postal_code=TEXT,
                country_or_region=TEXT,
                office_location=TEXT,
            ),
            "Postal addresses.",
        ),
        column("on_premises_sync_enabled", BOOL, "True when synced from a local directory."),
        column("on_premises_last_sync_date_time", TIME, "When it was last synced."),
    ),
)

DELETED_ITEMS = Table(
    name="deleted_items",
    doc="Directory objects in the recycle bin: still restorable, not yet purged.",
    group="directory",
    key=("id",),
    permissions=("Directory.Read.All",),
    reader="deleted_items",
    source_doc="https://learn.microsoft.com/graph/api/directory-deleteditems-list",
    path="/directory/deletedItems/{type}",
    entity="directoryObject",
    columns=(
        column("id", TEXT, "Object id."),
        computed(
            "kind",
            TEXT,
            "user, group, application, service_principal, device, administrative_unit or unknown.",
        ),
        column("display_name", TEXT, "Name that it had."),
        column("deleted_date_time", TIME, "When it was deleted."),
        column("user_principal_name", TEXT, "User principal name, for users."),
        column("mail", TEXT, "Mail address, for users and groups."),
        column("app_id", TEXT, "Application id, for applications and service principals."),
    ),
)

TABLES = (ORGANIZATION, DOMAINS, CONTACTS, DELETED_ITEMS)
