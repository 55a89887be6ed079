"""How privileged roles and permissions are: our own judgement of published facts, dated.

Tier 0 can take over the tenant, alone or through what it controls; tier 1 can take over important
accounts, applications or data; tier 2 administers something else; None is not privileged.

Facts are Microsoft's: what a role may do and which are marked privileged
(https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference and
…/privileged-roles-permissions), what a permission allows and which let an application grant itself
more or act as others (https://learn.microsoft.com/graph/permissions-reference). Which tier follows
from them is decided here. Lookups only: which rows carry a tier is the readers' affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

REVIEWED: Final = "2026-11-23"

MICROSOFT_GRAPH: Final = "00000003-0000-0000-c000-000000000000"
AZURE_AD_GRAPH: Final = "00000002-0000-0000-c000-000000000000"
EXCHANGE_ONLINE: Final = "00000002-0000-0ff1-ce00-000000000000"
SHAREPOINT_ONLINE: Final = "00000003-0000-0ff1-ce00-000000000000"

# Directory roles by template id.
_ROLES: Final[dict[str, int | None]] = {
    # Everything, every role assignment, or every administrator's credentials.
    "62e90394-69f5-4237-9190-012177145e10": 0,  # Global Administrator
    "e8611ab8-c189-46e8-94e1-60213ab1f814": 0,  # Privileged Role Administrator
    "7be44c8a-adaf-4e2a-84d6-ab2649e08a13": 0,  # Privileged Authentication Administrator
    "e00e864a-17c5-4a4b-9c06-f5b95a8d5bd8": 0,  # Partner Tier2 Support
    # Credentials of any application, and so whatever the most powerful one may do.
    "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3": 0,  # Application Administrator
    "158c047a-c907-4556-b7ef-446551a6b5f7": 0,  # Cloud Application Administrator
    # Federation: whoever sets the token issuer of a domain signs in as its users.
    "8ac3fc64-6eca-42ea-9e69-59f4c7b60eb2": 0,  # Hybrid Identity Administrator
    "8329153b-31d0-4727-b945-745eb3bc5f31": 0,  # Domain Name Administrator
    # Accounts of people, or what protects them.
    "c4e39bd9-1100-46d3-8c65-fb160da0071f": 1,  # Authentication Administrator
    "0526716b-113d-4c15-b2c8-68e3c22b9f80": 1,  # Authentication Policy Administrator
    "25a516ed-2fa0-40ea-a2d0-12923a21473a": 1,  # Authentication Extensibility Administrator
    "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9": 1,  # Conditional Access Administrator
    "9360feb5-f418-4baa-8175-e2a00bac4301": 1,  # Directory Writers
    "d29b2b05-8046-44ba-8758-1e26182fcf32": 1,  # Directory Synchronization Accounts
    "be2f45a1-457d-42af-a067-6ec1fa63bc45": 1,  # External Identity Provider Administrator
    "aaf43236-0c0d-4d5f-883a-6955382ac081": 1,  # B2C IEF Keyset Administrator
    "3edaf663-341e-4475-9f94-5c398ef6c070": 1,  # B2C IEF Policy Administrator
    "729827e3-9c14-49f7-bb1b-9608f156bbb8": 1,  # Helpdesk Administrator
    "966707d0-3269-4727-9be2-8c3a10f19b9d": 1,  # Password Administrator
    "fe930be7-5e62-47db-91af-98c3a49a38b1": 1,  # User Administrator
    "4ba39ca4-527c-499a-b93d-d9b492c50246": 1,  # Partner Tier1 Support
    "194ae4cb-b126-40b2-bd5b-6091b380977d": 1,  # Security Administrator
    "59d46f88-662b-457b-bceb-5c3809e5908f": 1,  # Lifecycle Workflows Administrator
    "db506228-d27e-4b7d-95e5-295956d6615f": 1,  # Agent ID Administrator
    # Who is in which group or access package, and so who has what.
    "fdd7a751-b60b-444a-984c-02652fe8fa1c": 1,  # Groups Administrator
    "45d8d3c5-c802-45c6-b32a-1d70b5e1e86e": 1,  # Identity Governance Administrator
    "58a13ea3-c632-46ae-9ee0-9c0d43cd7f3d": 1,  # Attribute Assignment Administrator
    # Devices that people work on.
    "3a2c62db-5318-420d-8d74-23affee5d9d5": 1,  # Intune Administrator
    "7698a772-787b-4ac8-901f-60d6b08affd2": 1,  # Cloud Device Administrator
    "9f06204d-73c1-4d4c-880a-6edb90606fd8": 1,  # Azure AD Joined Device Local Administrator
    # Mail, files and other data of everybody.
    "29232cdf-9323-42fd-ade2-1d097af3e4de": 1,  # Exchange Administrator
    "f28a1f50-f6e7-4571-818b-6a12f2af6b6c": 1,  # SharePoint Administrator
    "17315797-102d-40b4-93e0-432062caca18": 1,  # Compliance Administrator
    "e6d1a23a-da11-4be4-9570-befc86d067a7": 1,  # Compliance Data Administrator
    "5c4f9dcd-47dc-4cf7-8c9a-9e4207cbfc91": 1,  # Customer LockBox Access Approver
    "1707125e-0aa2-4d4d-8655-a7c786c76a25": 1,  # Microsoft 365 Backup Administrator
    "49eb8f75-97e9-4e37-9b2b-6c3ebfcffa31": 1,  # Exchange Backup Administrator
    "ee67aa9c-e510-4759-b906-227085a7fd4d": 1,  # Microsoft Graph Data Connect Administrator
    # Marked privileged by Microsoft, but reading or confined.
    "f2ef992c-3afb-46b9-b7cf-a126ee74c451": 2,  # Global Reader
    "5d6b6bb7-de71-4623-b4af-96380a352509": 2,  # Security Reader
    "5f2222b1-57c3-48ba-8ad5-d4759f1fde6f": 2,  # Security Operator
    "cf1c38e5-3621-4004-a7cb-879624dced7c": 2,  # Application Developer
    "ecb2c6bf-0ab6-418e-bd87-7986f8d63bbe": 2,  # Attribute Provisioning Administrator
    "422218e4-db15-4ef9-bbe0-8afb41546d79": 2,  # Attribute Provisioning Reader
    # Administration of one product or subject.
    "6b942400-691f-4bf0-9d12-d8a254a2baf5": 2,  # Agent Registry Administrator
    "d2562ede-74db-457e-a7b6-544e236ebb61": 2,  # AI Administrator
    "c430b396-e693-46cc-96f3-db01bf8bb62a": 2,  # Attack Simulation Administrator
    "8424c6f0-a189-499e-bbd0-26c1753c96d4": 2,  # Attribute Definition Administrator
    "5b784334-f94b-471a-a387-e7219fc49ca2": 2,  # Attribute Log Administrator
    "e3973bdf-4987-49ae-837a-ba8e231c7286": 2,  # Azure DevOps Administrator
    "7495fdc4-34c4-4d15-a289-98788ce399fd": 2,  # Azure Information Protection Administrator
    "b0f54661-2d74-4c50-afa3-1ec803f12efe": 2,  # Billing Administrator
    "892c5842-a9a6-463a-8041-72aa08ca3cf6": 2,  # Cloud App Security Administrator
    "38a96431-2bdf-4b4c-8b6e-5d3d8abac1a4": 2,  # Desktop Analytics Administrator
    "e93e3737-fa85-474a-aee4-7d3fb86510f3": 2,  # Dragon Administrator
    "44367163-eba1-44c3-98af-f5787879f96a": 2,  # Dynamics 365 Administrator
    "963797fb-eb3b-4cde-8ce3-5878b3f32a3f": 2,  # Dynamics 365 Business Central Administrator
    "3f1acade-1e04-4fbc-9b69-f0302cd84aef": 2,  # Edge Administrator
    "31392ffb-586c-42d1-9346-e59415a2cc4e": 2,  # Exchange Recipient Administrator
    "dd13091a-6207-4fc0-82ba-3641e056ab95": 2,  # Extended Directory User Administrator
    "6e591065-9bad-43ed-90f3-e9424366d2f0": 2,  # External ID User Flow Administrator
    "0f971eea-41eb-4569-a71e-57bb8a3eff1e": 2,  # External ID User Flow Attribute Administrator
    "a9ea8996-122f-4c74-9520-8edcd192826c": 2,  # Fabric Administrator
    "ac434307-12b9-4fa1-a708-88bf58caabc1": 2,  # Global Secure Access Administrator
    "eb1f4a8d-243a-41f0-9fbd-c7cdf6c5ef7c": 2,  # Insights Administrator
    "2ea5ce4c-b2d8-4668-bd81-3680bd2d227a": 2,  # IoT Device Administrator
    "74ef975b-6605-40af-a5d2-b9539d836353": 2,  # Kaizala Administrator
    "b5a8dcf3-09d5-43a9-a639-8e29ef291470": 2,  # Knowledge Administrator
    "4d6ac14f-3453-41d0-bef9-a3e0c569773a": 2,  # License Administrator
    "8c8b803f-96e1-4129-9349-20738d9f9652": 2,  # Microsoft 365 Migration Administrator
    "1501b917-7653-4ff9-a4b5-203eaf33784f": 2,  # Microsoft Hardware Warranty Administrator
    "d37c8bed-0711-4417-ba38-b4abe66ce4c2": 2,  # Network Administrator
    "2b745bdf-0803-4d80-aa65-822c4493daac": 2,  # Office Apps Administrator
    "92ed04bf-c94a-4b82-9729-b799a7a4c178": 2,  # Organizational Branding Administrator
    "9d70768a-0cbc-4b4c-aea3-2e124b2477f4": 2,  # Organizational Data Source Administrator
    "024906de-61e5-49c8-8572-40335f1e0e10": 2,  # People Administrator
    "af78dc32-cf4d-46f9-ba4e-4428526346b5": 2,  # Permissions Management Administrator
    "11648597-926c-4cf3-9c36-bcebb0ba8dcc": 2,  # Power Platform Administrator
    "644ef478-e28f-4e28-b9dc-3fdde9aa0b1f": 2,  # Printer Administrator
    "0964bb5e-9bdb-4d7b-ac29-58e794862a40": 2,  # Search Administrator
    "f023fd81-a637-4b56-95fd-791ac0226033": 2,  # Service Support Administrator
    "1a7d78b6-429f-476b-b8eb-35fb715fffd4": 2,  # SharePoint Embedded Administrator
    "75941009-915a-4869-abe7-691bff18279e": 2,  # Skype for Business Administrator
    "69091246-20e8-4a56-aa4d-066075b2a7a8": 2,  # Teams Administrator
    "baf37b3a-610e-45da-9e62-d9d1e5e8914b": 2,  # Teams Communications Administrator
    "3d762c5a-1b6c-493f-843e-55a3b42923d4": 2,  # Teams Devices Administrator
    "aa38014f-0993-46e9-9b45-30501a20909d": 2,  # Teams Telephony Administrator
    "e300d9e7-4a2b-4295-9eff-f1c78b36cc98": 2,  # Virtual Visits Administrator
    "0ec3f692-38d6-4d14-9e69-0377ca7797ad": 2,  # Viva Glint Tenant Administrator
    "92b086b3-e367-4ef2-b869-1de128fb986e": 2,  # Viva Goals Administrator
    "87761b17-1ed2-4af3-9acd-92a150038160": 2,  # Viva Pulse Administrator
    "11451d60-acb2-45eb-a7d6-43d0f0125c13": 2,  # Windows 365 Administrator
    "32696413-001a-46ae-978c-ce0f6b3620d2": 2,  # Windows Update Deployment Administrator
    "810a2642-a034-447f-a5e8-41beaa378541": 2,  # Yammer Administrator
    # What everybody has, or what only reads and invites.
    "a0b1b346-4d3e-4e8b-98f8-753987be4970": None,  # User
    "10dae51f-b6af-4016-8d66-8c2a99b929b3": None,  # Guest User
    "2af84b1e-32c8-42b7-82bc-daa82404023b": None,  # Restricted Guest User
    "88d8e3e3-8f55-4a1e-953a-9b9898b8876b": None,  # Directory Readers
    "95e79109-95c0-4d8e-aee3-d01accf2d47b": None,  # Guest Inviter
}

# Resource actions, for custom roles and built-in ones that are newer than the table above: the
# beginning of an action that changes something (reading never counts).
_ACTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("microsoft.directory/roleAssignments/", 0),
    ("microsoft.directory/roleDefinitions/", 0),
    ("microsoft.directory/directoryRoles/", 0),
    ("microsoft.directory/privilegedIdentityManagement/", 0),
    ("microsoft.directory/groupsAssignableToRoles/", 0),
    ("microsoft.directory/applications/credentials/", 0),
    ("microsoft.directory/applications/owners/", 0),
    ("microsoft.directory/applications/allProperties/", 0),
    ("microsoft.directory/servicePrincipals/credentials/", 0),
    ("microsoft.directory/servicePrincipals/owners/", 0),
    ("microsoft.directory/servicePrincipals/allProperties/", 0),
    ("microsoft.directory/servicePrincipals/managePermissionGrantsForAll.", 0),
    ("microsoft.directory/domains/", 0),
    ("microsoft.directory/users/password/", 1),
    ("microsoft.directory/users/authenticationMethods/", 1),
    ("microsoft.directory/users/userPrincipalName/", 1),
    ("microsoft.directory/groups", 1),  # and groups.security, groups.unified
    ("microsoft.directory/conditionalAccessPolicies/", 1),
    ("microsoft.directory/servicePrincipals/appRoleAssignedTo/", 1),
    ("microsoft.directory/servicePrincipals/managePermissionGrantsFor", 1),
    ("microsoft.directory/oAuth2PermissionGrants/", 1),
    ("microsoft.directory/entitlementManagement/", 1),
    ("microsoft.directory/administrativeUnits/", 1),
    ("microsoft.directory/applications.myOrganization/credentials/", 0),
    ("microsoft.directory/applications.myOrganization/owners/", 0),
    ("microsoft.directory/applications.myOrganization/allProperties/", 0),
    ("microsoft.directory/", 2),
)

# Application permissions of Microsoft's APIs, by the value of the app role.
_GRAPH: Final[dict[str, int]] = {
    # Gives roles, permissions or consent, to itself too.
    "RoleManagement.ReadWrite.Directory": 0,
    "RoleAssignmentSchedule.ReadWrite.Directory": 0,
    "RoleAssignmentSchedule.Remove.Directory": 1,
    "RoleEligibilitySchedule.ReadWrite.Directory": 0,
    "RoleManagementPolicy.ReadWrite.Directory": 1,
    "RoleManagementPolicy.ReadWrite.AzureADGroup": 1,
    "PrivilegedAccess.ReadWrite.AzureAD": 0,
    "PrivilegedAccess.ReadWrite.AzureADGroup": 0,
    "PrivilegedAssignmentSchedule.ReadWrite.AzureADGroup": 0,
    "PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup": 0,
    "AppRoleAssignment.ReadWrite.All": 0,
    "DelegatedPermissionGrant.ReadWrite.All": 0,
    "Policy.ReadWrite.PermissionGrant": 1,
    # Acts as other applications or as users.
    "Application.ReadWrite.All": 0,
    "Application.ReadWrite.OwnedBy": 1,
    "ServicePrincipalEndpoint.ReadWrite.All": 2,
    "Synchronization.ReadWrite.All": 1,
    "UserAuthenticationMethod.ReadWrite.All": 0,
    "Domain.ReadWrite.All": 0,
    "Organization.ReadWrite.All": 0,  # certificate authorities that users sign in with
    "PublicKeyInfrastructure.ReadWrite.All": 0,
    "IdentityProvider.ReadWrite.All": 1,
    "Directory.ReadWrite.All": 1,
    "User.ReadWrite.All": 1,
    "User-PasswordProfile.ReadWrite.All": 1,
    "User.ManageIdentities.All": 1,
    "User.EnableDisableAccount.All": 2,
    "User.DeleteRestore.All": 2,
    "User.RevokeSessions.All": 2,
    "CustomSecAttributeAssignment.ReadWrite.All": 1,
    # Who is in which group, unit or access package.
    "Group.ReadWrite.All": 1,
    "GroupMember.ReadWrite.All": 1,
    "Group.Create": 2,
    "AdministrativeUnit.ReadWrite.All": 1,
    "EntitlementManagement.ReadWrite.All": 1,
    "LifecycleWorkflows.ReadWrite.All": 1,
    "AccessReview.ReadWrite.All": 1,
    # What protects sign-in.
    "Policy.ReadWrite.ConditionalAccess": 1,
    "Policy.ReadWrite.AuthenticationMethod": 1,
    "Policy.ReadWrite.AuthenticationFlows": 1,
    "Policy.ReadWrite.Authorization": 1,
    "Policy.ReadWrite.CrossTenantAccess": 1,
    "Policy.ReadWrite.SecurityDefaults": 1,
    # Devices that people work on.
    "DeviceManagementConfiguration.ReadWrite.All": 1,
    "DeviceManagementApps.ReadWrite.All": 1,
    "DeviceManagementScripts.ReadWrite.All": 1,
    "DeviceManagementManagedDevices.ReadWrite.All": 1,
    "DeviceManagementManagedDevices.PrivilegedOperations.All": 1,
    "DeviceManagementRBAC.ReadWrite.All": 1,
    "BitlockerKey.Read.All": 1,
    "DeviceLocalCredential.Read.All": 1,
    # Everybody's mail, files and conversations.
    "Mail.Read": 1,
    "Mail.ReadWrite": 1,
    "Mail.Send": 1,
    "MailboxSettings.ReadWrite": 1,
    "Files.Read.All": 1,
    "Files.ReadWrite.All": 1,
    "Sites.Read.All": 1,
    "Sites.ReadWrite.All": 1,
    "Sites.Manage.All": 1,
    "Sites.FullControl.All": 1,
    "Chat.Read.All": 1,
    "Chat.ReadWrite.All": 1,
    "ChannelMessage.Read.All": 1,
    "Notes.Read.All": 1,
    "Notes.ReadWrite.All": 1,
    "Calendars.ReadWrite": 2,
    "Contacts.ReadWrite": 2,
}
_PERMISSIONS: Final[dict[str, dict[str, int]]] = {
    MICROSOFT_GRAPH: _GRAPH,
    AZURE_AD_GRAPH: {
        "Directory.ReadWrite.All": 1,
        "Application.ReadWrite.All": 0,
        "Application.ReadWrite.OwnedBy": 1,
        "Domain.ReadWrite.All": 0,
    },
    EXCHANGE_ONLINE: {
        "full_access_as_app": 1,
        "Exchange.ManageAsApp": 1,
        "Exchange.ManageAsAppV2": 1,
        "Mail.Read": 1,
        "Mail.ReadWrite": 1,
        "Mail.Send": 1,
        "MailboxSettings.ReadWrite": 1,
    },
    SHAREPOINT_ONLINE: {
        "Sites.FullControl.All": 1,
        "Sites.Manage.All": 1,
        "Sites.ReadWrite.All": 1,
        "Sites.Read.All": 1,
        "User.ReadWrite.All": 2,
    },
}
# Signed in as an administrator, a client with one of these may do what that person may.
_DELEGATED_ONLY: Final[dict[str, int]] = {"Directory.AccessAsUser.All": 1}


def role_tier(template_id: str | None, actions: Iterable[str] = ()) -> int | None:
    """The tier of a directory role: 0, 1, 2, or None when it is not privileged.

    Built-in roles are looked up by their template id. Custom roles, and built-in ones that the
    table does not know, are judged by the actions that they allow.
    """
    template_id = (template_id or "").lower()
    if template_id in _ROLES:
        return _ROLES[template_id]
    tiers = [tier for action in actions if (tier := _action_tier(action)) is not None]
    return min(tiers, default=None)


def permission_tier(
    resource_app_id: str | None, value: str | None, *, delegated: bool = False
) -> int | None:
    """The tier of a permission that one of Microsoft's APIs offers; None when not privileged.

    `resource_app_id` is the application id of the API, `value` the app role's or scope's value.
    A delegated permission never reaches further than the person who is signed in, so it counts
    one tier lower. Permissions of other applications have no tier: only their owners know.
    """
    table = _PERMISSIONS.get((resource_app_id or "").lower())
    if table is None or not value:
        return None
    tier = table.get(value)
    if delegated:
        if value in _DELEGATED_ONLY:
            return _DELEGATED_ONLY[value]
        return None if tier is None else min(tier + 1, 2)
    if tier is None and ".ReadWrite." in f"{value}.":
        return 2  # writes something in the whole tenant
    return tier


def _action_tier(action: str) -> int | None:
    if action.endswith("/read"):
        return None
    tiers = [tier for start, tier in _ACTIONS if action.lower().startswith(start.lower())]
    return min(tiers, default=None)
