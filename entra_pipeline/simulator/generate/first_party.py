"""Facts about Microsoft's own applications: appIds, application permissions and scopes.

Only ids that are public and certain. Microsoft Graph's permissions come from Microsoft's
`permissions-descriptions.json` (names and ids; the sentences that describe them are ours).
"""

import json
from pathlib import Path

MICROSOFT_TENANT = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
"""The tenant that owns Microsoft's own applications."""

GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
EXCHANGE_APP_ID = "00000002-0000-0ff1-ce00-000000000000"
POWERSHELL_APP_ID = "14d82eec-204b-4c2f-b7e8-296a70dab67e"

_FACTS = json.loads(
    (Path(__file__).parent / "facts" / "microsoft_graph_permissions.json").read_text("utf-8")
)
GRAPH_APP_ROLES: dict[str, str] = _FACTS["application"]
"""Application permission of Microsoft Graph -> its true id."""
GRAPH_SCOPES: dict[str, list[str]] = _FACTS["delegated"]
"""Delegated permission of Microsoft Graph -> its true id, and who may consent (Admin, User)."""

FIRST_PARTY: tuple[tuple[str, str, dict[str, str], dict[str, str]], ...] = (
    ("Microsoft Graph", GRAPH_APP_ID, GRAPH_APP_ROLES, {k: v[0] for k, v in GRAPH_SCOPES.items()}),
    (
        "Office 365 Exchange Online",
        EXCHANGE_APP_ID,
        {
            "Exchange.ManageAsApp": "dc50a0fb-09a3-484d-be87-e023b12c6440",
            "full_access_as_app": "dc890d15-9560-4a4c-9b7f-a736ec74ec40",
        },
        {},
    ),
    (
        "Windows Azure Active Directory",
        "00000002-0000-0000-c000-000000000000",
        {"Directory.Read.All": "5778995a-e1bf-45b8-affa-663a9f3f4d04"},
        {"User.Read": "311a71cc-e848-46a1-bdf8-97ff7156d8e6"},
    ),
    (
        "Office 365 SharePoint Online",
        "00000003-0000-0ff1-ce00-000000000000",
        {"Sites.FullControl.All": "678536fe-1083-478a-9c59-b99265e6b0d3"},
        {},
    ),
    (
        "Windows Azure Service Management API",
        "797f4846-ba00-4fd7-ba43-dac1f8f63013",
        {},
        {"user_impersonation": "41094075-9dad-400e-a0bd-54e686782033"},
    ),
    (
        "Azure Key Vault",
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
        {},
        {"user_impersonation": "f53da476-18e3-4152-8e01-aec403e6edc0"},
    ),
    (
        "Office 365 Management APIs",
        "c5393580-f805-4401-95e8-94b7a6ef2fc2",
        {"ActivityFeed.Read": "594c1fb6-4f81-4475-ae41-0c394909246c"},
        {},
    ),
    *(
        (name, app_id, {}, {})
        for name, app_id in (
            ("Microsoft Graph Command Line Tools", POWERSHELL_APP_ID),
            ("Microsoft Azure CLI", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
            ("Microsoft Azure PowerShell", "1950a258-227b-4e31-a9cf-717495945fc2"),
            ("Graph Explorer", "de8bc8b5-d9f9-48b1-a8ad-b748da725064"),
            ("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264"),
            ("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c"),
            ("Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"),
            ("Microsoft Intune", "0000000a-0000-0000-c000-000000000000"),
            ("Azure Storage", "e406a681-f3d4-42a8-90b6-c2b029497af1"),
            ("Power BI Service", "00000009-0000-0000-c000-000000000000"),
            ("Microsoft Authentication Broker", "29d9ed98-a469-4536-ade2-f981bc1d605e"),
            ("My Apps", "2793995e-0a7d-40d7-bd35-6968ba142197"),
            ("WindowsDefenderATP", "fc780465-2017-40d4-a0c5-307022471b92"),
            ("Microsoft Cloud App Security", "05a65629-4c1b-48c1-a78b-804c4abdd4af"),
            ("Azure DevOps", "499b84ac-1321-427f-aa17-267ca6975798"),
            ("Skype for Business Online", "00000004-0000-0ff1-ce00-000000000000"),
            ("Device Registration Service", "01cb2876-7ebd-4aa4-9cc9-d28bd4d359a9"),
            ("Log Analytics API", "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5"),
            ("Visual Studio Code", "aebc6443-996d-45c2-90f0-388ff96faa56"),
        )
    ),
)
"""Name, appId, application permissions and scopes of Microsoft's own applications."""
