"""Users and their managers.

Here: staff, mailbox accounts, guests, and the manager tree. Not here: licences (`licences`), what
users can reach (`groups`, `roles`, `applications`), and the sign-in related side data
(`activity`).
"""

import random

from entra_pipeline.simulator.generate.build import (
    COMPANY,
    DEFAULT_DOMAIN,
    INITIAL_DOMAIN,
    Build,
    new_id,
)
from entra_pipeline.simulator.generate.names import (
    CITIES,
    DEPARTMENTS,
    GIVEN_NAMES,
    LEVELS,
    PARTNERS,
    SURNAMES,
)
from entra_pipeline.simulator.tenant import JsonObject

DEMO_USER_UPN = f"maya.lindqvist@{DEFAULT_DOMAIN}"
DEMO_GUEST_UPN = f"noor.verhoeven_fabrikam.example#EXT#@{INITIAL_DOMAIN}"
DEMO_ADMIN_UPN = f"adm.tomas.okonjo@{DEFAULT_DOMAIN}"

_NO_ATTRIBUTES: JsonObject = {f"extensionAttribute{n}": None for n in range(1, 16)}

_TEMPLATE: JsonObject = {
    "id": "",
    "deletedDateTime": None,
    "accountEnabled": True,
    "ageGroup": None,
    "assignedLicenses": [],
    "assignedPlans": [],
    "authorizationInfo": {"certificateUserIds": []},
    "businessPhones": [],
    "city": None,
    "companyName": None,
    "consentProvidedForMinor": None,
    "country": None,
    "createdDateTime": None,
    "creationType": None,
    "department": None,
    "displayName": None,
    "employeeHireDate": None,
    "employeeId": None,
    "employeeLeaveDateTime": None,
    "employeeOrgData": None,
    "employeeType": None,
    "externalUserState": None,
    "externalUserStateChangeDateTime": None,
    "faxNumber": None,
    "givenName": None,
    "identities": [],
    "identityParentId": None,
    "imAddresses": [],
    "isManagementRestricted": None,
    "isResourceAccount": None,
    "jobTitle": None,
    "lastPasswordChangeDateTime": None,
    "legalAgeGroupClassification": None,
    "licenseAssignmentStates": [],
    "mail": None,
    "mailNickname": None,
    "mobilePhone": None,
    "officeLocation": None,
    "onPremisesDistinguishedName": None,
    "onPremisesDomainName": None,
    "onPremisesExtensionAttributes": _NO_ATTRIBUTES,
    "onPremisesImmutableId": None,
    "onPremisesLastSyncDateTime": None,
    "onPremisesProvisioningErrors": [],
    "onPremisesSamAccountName": None,
    "onPremisesSecurityIdentifier": None,
    "onPremisesSyncEnabled": None,
    "onPremisesUserPrincipalName": None,
    "otherMails": [],
    "passwordPolicies": None,
    "passwordProfile": None,
    "postalCode": None,
    "preferredDataLocation": None,
    "preferredLanguage": None,
    "provisionedPlans": [],
    "proxyAddresses": [],
    "securityIdentifier": None,
    "serviceProvisioningErrors": [],
    "showInAddressList": None,
    "signInActivity": None,
    "signInSessionsValidFromDateTime": None,
    "state": None,
    "streetAddress": None,
    "surname": None,
    "usageLocation": None,
    "userPrincipalName": None,
    "userType": "Member",
}
"""Every property that Graph can list on users. Nested values are shared between users and
therefore never changed in place."""

_TEAM = 7
"""Direct reports of a manager."""


def add_users(build: Build, count: int) -> None:
    """Add `count` users: about 6 % guests, 2 % mailboxes, the rest staff (8 % of it disabled)."""
    rng = build.rng("users")
    guests = max(1, round(count * 0.06)) if count > 3 else 0
    mailboxes = round(count * 0.02)
    members = count - guests - mailboxes
    _add_members(build, rng, members)
    _add_mailboxes(build, rng, mailboxes)
    _add_guests(build, rng, guests)
    _add_managers(build, build.rng("managers"))


def _weights(count: int) -> list[float]:
    """A long tail: the first of several is the most common."""
    return [1 / (rank + 2) ** 0.8 for rank in range(count)]


def _add_members(build: Build, rng: random.Random, count: int) -> None:
    departments = rng.choices(DEPARTMENTS, _weights(len(DEPARTMENTS)), k=count)
    cities = rng.choices(CITIES, _weights(len(CITIES)), k=count)
    given = rng.choices(GIVEN_NAMES, k=count)
    family = rng.choices(SURNAMES, k=count)
    cost_centers = [
        {"costCenter": f"CC-{1000 + number}", "division": division}
        for number in range(40)
        for division in ("Corporate", "Industry", "Consumer")
    ]
    last_sync = build.ago(0.02)
    domain_sid = "-".join(str(rng.getrandbits(31)) for _ in range(3))
    taken: dict[str, int] = {}
    users = build.tenant.objects["users"]
    demo = {
        0: ("Maya", "Lindqvist", "Payroll"),
        1: ("Adm Tomas", "Okonjo", "Information Technology"),
    }
    for index in range(count):
        first, last, department = demo.get(index, (given[index], family[index], departments[index]))
        city, state, country, country_code, language, postal = cities[index]
        nick = f"{first}.{last}".lower().replace(" ", ".")
        number = taken.get(nick, 0) + 1
        taken[nick] = number
        if number > 1:
            nick = f"{nick}{number}"
        upn = f"{nick}@{DEFAULT_DOMAIN}"
        chance = rng.random()
        user_id = new_id(rng)
        created = build.past_time(rng)
        enabled = index < 8 or chance > 0.08
        user = dict(_TEMPLATE)
        user["id"] = user_id
        user["accountEnabled"] = enabled
        user["businessPhones"] = [f"+1 555 01{index % 100:02d} {index % 10000:04d}"]
        user["city"] = city
        user["companyName"] = COMPANY
        user["country"] = country
        user["createdDateTime"] = created
        user["department"] = department
        user["displayName"] = f"{first} {last}"
        user["employeeHireDate"] = created
        user["employeeId"] = f"{100000 + index}"
        user["employeeOrgData"] = cost_centers[index % 120]
        user["employeeType"] = "Employee" if index % 9 else "Contractor"
        user["givenName"] = first
        user["identities"] = [
            {
                "signInType": "userPrincipalName",
                "issuer": INITIAL_DOMAIN,
                "issuerAssignedId": upn,
            }
        ]
        user["imAddresses"] = [upn]
        user["jobTitle"] = f"{department} {LEVELS[index % 6]}"
        user["lastPasswordChangeDateTime"] = build.past_time(rng)
        user["mail"] = upn
        user["mailNickname"] = nick
        user["mobilePhone"] = f"+1 555 02{index % 100:02d} {index % 10000:04d}"
        user["officeLocation"] = f"{city} {index % 6 + 1}/{index % 400}"
        user["passwordPolicies"] = "DisablePasswordExpiration" if index % 5 == 0 else None
        user["postalCode"] = postal
        user["preferredLanguage"] = language
        user["proxyAddresses"] = [f"SMTP:{upn}", f"smtp:{nick}@{INITIAL_DOMAIN}"]
        user["securityIdentifier"] = (
            f"S-1-12-1-{int(user_id[:8], 16)}-{int(user_id[9:13], 16)}-{index}-{index % 977}"
        )
        user["signInSessionsValidFromDateTime"] = user["lastPasswordChangeDateTime"]
        user["state"] = state
        user["surname"] = last
        user["usageLocation"] = country_code
        user["userPrincipalName"] = upn
        if index > 1 and chance > 0.38:
            user["onPremisesDistinguishedName"] = (
                f"CN={first} {last},OU={department},OU=People,DC=corp,DC=contoso,DC=example"
            )
            user["onPremisesDomainName"] = "corp.contoso.example"
            user["onPremisesExtensionAttributes"] = {
                **_NO_ATTRIBUTES,
                "extensionAttribute1": f"PN{index:06d}",
                "extensionAttribute2": country_code,
            }
            user["onPremisesImmutableId"] = f"{index:021x}A=="
            user["onPremisesLastSyncDateTime"] = last_sync
            user["onPremisesSamAccountName"] = nick[:20]
            user["onPremisesSecurityIdentifier"] = f"S-1-5-21-{domain_sid}-{index + 1100}"
            user["onPremisesSyncEnabled"] = True
            user["onPremisesUserPrincipalName"] = upn
        elif index > 1 and chance > 0.35:
            user["onPremisesSyncEnabled"] = False
            user["onPremisesLastSyncDateTime"] = created
        users[user_id] = user
        build.members.append(user_id)
        if enabled:
            build.staff.append(user_id)
            if user["onPremisesSyncEnabled"] is not True:
                build.cloud_staff.append(user_id)
            build.by_department.setdefault(department, []).append(user_id)
            build.by_country.setdefault(country, []).append(user_id)
            build.by_city.setdefault(city, []).append(user_id)
    _spoil(build, rng)
    if count > 1:
        build.known["demo user"], build.known["demo admin"] = build.members[:2]


def _spoil(build: Build, rng: random.Random) -> None:
    """The holes that real tenants have: missing names, no user type, no usage location."""
    for user_id in build.members[2:]:
        chance = rng.random()
        if chance > 0.03:
            continue
        user = build.get("users", user_id)
        if chance < 0.003:
            user["displayName"] = None
        elif chance < 0.006:
            user["userType"] = None
        elif chance < 0.012:
            user["givenName"] = user["surname"] = None
        elif chance < 0.02:
            user["usageLocation"] = None
        else:
            user["mail"] = None
            user["proxyAddresses"] = []


def _add_mailboxes(build: Build, rng: random.Random, count: int) -> None:
    for index in range(count):
        room = index % 3 == 0
        name = f"Room {index // 3 + 1}" if room else f"Shared Mailbox {index + 1}"
        nick = name.lower().replace(" ", "-")
        upn = f"{nick}@{DEFAULT_DOMAIN}"
        build.add(
            "users",
            {
                **_TEMPLATE,
                "id": new_id(rng),
                "accountEnabled": False,
                "createdDateTime": build.past_time(rng),
                "displayName": name,
                "identities": [
                    {
                        "signInType": "userPrincipalName",
                        "issuer": INITIAL_DOMAIN,
                        "issuerAssignedId": upn,
                    }
                ],
                "mail": upn,
                "mailNickname": nick,
                "mailboxSettings": {"userPurpose": "room" if room else "shared"},
                "proxyAddresses": [f"SMTP:{upn}"],
                "userPrincipalName": upn,
            },
        )


def _add_guests(build: Build, rng: random.Random, count: int) -> None:
    for index in range(count):
        first, last = rng.choice(GIVEN_NAMES), rng.choice(SURNAMES)
        partner = rng.choice(PARTNERS)
        if index == 0:
            first, last, partner = "Noor", "Verhoeven", "fabrikam"
        suffix = "" if index == 0 else str(index)
        mail = f"{first}.{last}{suffix}@{partner}.example".lower()
        created = build.past_time(rng)
        pending = index > 0 and rng.random() < 0.15
        guest_id = build.add(
            "users",
            {
                **_TEMPLATE,
                "id": new_id(rng),
                "accountEnabled": index == 0 or rng.random() > 0.05,
                "companyName": partner.title() if index % 2 else None,
                "createdDateTime": created,
                "creationType": "Invitation",
                "displayName": f"{first} {last} ({partner.title()})",
                "externalUserState": "PendingAcceptance" if pending else "Accepted",
                "externalUserStateChangeDateTime": created,
                "givenName": first if index % 3 else None,
                "identities": [
                    {
                        "signInType": "federated",
                        "issuer": "ExternalAzureAD",
                        "issuerAssignedId": None,
                    },
                    {
                        "signInType": "userPrincipalName",
                        "issuer": INITIAL_DOMAIN,
                        "issuerAssignedId": f"{mail.replace('@', '_')}#EXT#@{INITIAL_DOMAIN}",
                    },
                ],
                "mail": mail,
                "mailNickname": f"{mail.replace('@', '_')}#EXT#",
                "otherMails": [mail],
                "proxyAddresses": [f"SMTP:{mail}"],
                "showInAddressList": False,
                "signInSessionsValidFromDateTime": created,
                "surname": last if index % 3 else None,
                "userPrincipalName": f"{mail.replace('@', '_')}#EXT#@{INITIAL_DOMAIN}",
                "userType": "Guest" if index % 40 != 39 else "Member",
            },
        )
        build.guests.append(guest_id)
    if count:
        build.known["demo guest"] = build.guests[0]


def _add_managers(build: Build, rng: random.Random) -> None:
    """One tree: the third member heads it, each manager has a team of seven."""
    people = build.members[2:] + build.members[:2]
    if not people:
        return
    people[0], chief = people[0], build.get("users", people[0])
    chief["jobTitle"] = "Chief Executive Officer"
    chief["accountEnabled"] = True
    managers = build.tenant.links["managers"]
    for position in range(1, len(people)):
        if rng.random() > 0.015:
            managers[people[position]] = [people[(position - 1) // _TEAM]]
    for guest in build.guests:
        if rng.random() < 0.3:
            managers[guest] = [rng.choice(people)]
