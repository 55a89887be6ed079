"""The organisation, its domains, devices, organisational contacts and administrative units."""

import random

from entra_pipeline.simulator.generate.build import (
    COMPANY,
    DEFAULT_DOMAIN,
    INITIAL_DOMAIN,
    Build,
    new_id,
    pick,
)
from entra_pipeline.simulator.generate.names import GIVEN_NAMES, PARTNERS, SURNAMES
from entra_pipeline.simulator.tenant import JsonObject

PREMIUM_P1_PLAN = "41781fb2-bc02-4b7c-bd55-b576c07bb09d"
PREMIUM_P2_PLAN = "eec0eb4f-6444-4f95-aba0-50c24d67f998"
EXCHANGE_PLAN = "efb87545-963c-4e0d-99df-69c6916d9eb0"


def premium_plans(license_name: str) -> list[tuple[str, str]]:
    """Service plans (id, name) by which a tenant shows its Entra licence: none, P1, or both."""
    plans = [("AAD_PREMIUM", PREMIUM_P1_PLAN), ("AAD_PREMIUM_P2", PREMIUM_P2_PLAN)]
    wanted = {"free": 0, "p1": 1, "p2": 2}[license_name]
    return [(plan_id, name) for name, plan_id in plans[:wanted]]


def add_organization(build: Build) -> None:
    """Add the organisation and its domains."""
    assigned = build.ago(900)
    plans = [("exchange", EXCHANGE_PLAN)] + [
        ("AADPremiumService", plan_id) for plan_id, _ in premium_plans(build.license)
    ]
    build.add(
        "organization",
        {
            "id": build.tenant.tenant_id,
            "deletedDateTime": None,
            "assignedPlans": [
                {
                    "assignedDateTime": assigned,
                    "capabilityStatus": "Enabled",
                    "service": service,
                    "servicePlanId": plan_id,
                }
                for service, plan_id in plans
            ],
            "businessPhones": ["+1 555 0100"],
            "city": "Stockholm",
            "country": None,
            "countryLetterCode": "SE",
            "createdDateTime": build.ago(3700),
            "defaultUsageLocation": None,
            "displayName": COMPANY,
            "marketingNotificationEmails": [],
            "mobileDeviceManagementAuthority": "intune",
            "onPremisesLastSyncDateTime": build.ago(0.02),
            "onPremisesSyncEnabled": True,
            "partnerTenantType": None,
            "postalCode": "111 20",
            "preferredLanguage": "en",
            "privacyProfile": None,
            "provisionedPlans": [
                {
                    "capabilityStatus": "Enabled",
                    "provisioningStatus": "Success",
                    "service": "exchange",
                }
            ],
            "securityComplianceNotificationMails": [],
            "securityComplianceNotificationPhones": [],
            "state": None,
            "street": "1 Example Street",
            "technicalNotificationMails": [f"it@{DEFAULT_DOMAIN}"],
            "tenantType": "AAD",
            "verifiedDomains": [
                {
                    "capabilities": "Email, OfficeCommunicationsOnline",
                    "isDefault": name == DEFAULT_DOMAIN,
                    "isInitial": name == INITIAL_DOMAIN,
                    "name": name,
                    "type": "Managed",
                }
                for name in (DEFAULT_DOMAIN, INITIAL_DOMAIN)
            ],
        },
    )
    for name, kind, verified in (
        (DEFAULT_DOMAIN, "Managed", True),
        (INITIAL_DOMAIN, "Managed", True),
        ("corp.contoso.example", "Federated", True),
        ("contoso-labs.example", "Managed", False),
    ):
        build.add(
            "domains",
            {
                "id": name,
                "authenticationType": kind,
                "availabilityStatus": None,
                "isAdminManaged": True,
                "isDefault": name == DEFAULT_DOMAIN,
                "isInitial": name == INITIAL_DOMAIN,
                "isRoot": name != "corp.contoso.example",
                "isVerified": verified,
                "manufacturer": None,
                "model": None,
                "passwordNotificationWindowInDays": 14 if verified else None,
                "passwordValidityPeriodInDays": 2147483647 if verified else None,
                "state": None,
                "supportedServices": ["Email", "OfficeCommunicationsOnline"] if verified else [],
            },
        )


_DEVICE: JsonObject = {
    "id": "",
    "deletedDateTime": None,
    "accountEnabled": True,
    "alternativeSecurityIds": [],
    "approximateLastSignInDateTime": None,
    "complianceExpirationDateTime": None,
    "deviceCategory": None,
    "deviceId": None,
    "deviceMetadata": None,
    "deviceOwnership": None,
    "deviceVersion": 2,
    "displayName": None,
    "enrollmentProfileName": None,
    "enrollmentType": None,
    "isCompliant": None,
    "isManaged": None,
    "isManagementRestricted": None,
    "isRooted": None,
    "managementType": None,
    "manufacturer": None,
    "mdmAppId": None,
    "model": None,
    "onPremisesLastSyncDateTime": None,
    "onPremisesSecurityIdentifier": None,
    "onPremisesSyncEnabled": None,
    "operatingSystem": None,
    "operatingSystemVersion": None,
    "physicalIds": [],
    "profileType": "RegisteredDevice",
    "registrationDateTime": None,
    "systemLabels": [],
    "trustType": None,
}

_SYSTEMS = (
    ("Windows", "10.0.26100.4652", "AzureAd", "Microsoft", "Surface Laptop"),
    ("Windows", "10.0.22631.5624", "ServerAd", "Fabrikam", "Desk 400"),
    ("iOS", "18.5", "Workplace", "Apple", "iPhone"),
    ("MacMDM", "15.5", "AzureAd", "Apple", "MacBook Pro"),
    ("Android", "15", "Workplace", "Litware", "Phone 9"),
)


def add_devices(build: Build, count: int) -> None:
    """Add devices, most with one owner and user; the demo user has two."""
    rng = build.rng("devices")
    people = build.staff
    for index in range(count):
        system, version, trust, maker, model = _SYSTEMS[index % 5]
        device_id = new_id(rng)
        owner = people[0 if index < 2 else int(rng.random() * len(people))] if people else None
        registered = build.past_time(rng)
        corporate = trust != "Workplace"
        build.tenant.objects["devices"][device_id] = _DEVICE | {
            "id": device_id,
            "accountEnabled": index % 25 != 24,
            "approximateLastSignInDateTime": build.ago(rng.expovariate(1 / 40)),
            "deviceId": new_id(rng),
            "deviceOwnership": "Company" if corporate else "Personal",
            "displayName": f"{'LT' if corporate else 'MOB'}-{index:06d}",
            "isCompliant": None if index % 6 == 5 else index % 7 != 0,
            "isManaged": corporate,
            "isRooted": False if corporate else None,
            "managementType": "MDM" if corporate else None,
            "manufacturer": maker,
            "model": model,
            "onPremisesSyncEnabled": True if trust == "ServerAd" else None,
            "operatingSystem": system,
            "operatingSystemVersion": version,
            "physicalIds": [f"[HWID]:h:{index:08x}"],
            "registrationDateTime": registered,
            "trustType": trust,
        }
        if owner and index % 20 != 19:
            build.tenant.links["device_owners"][device_id] = [owner]
            build.tenant.links["device_users"][device_id] = [owner]


def add_contacts(build: Build, count: int) -> None:
    """Add organisational contacts: people of partner companies in the address book."""
    rng = build.rng("contacts")
    for index in range(count):
        first, last = rng.choice(GIVEN_NAMES), rng.choice(SURNAMES)
        partner = rng.choice(PARTNERS)
        mail = f"{first}.{last}{index}@{partner}.example".lower()
        synced = index % 3 != 0
        build.add(
            "contacts",
            {
                "id": new_id(rng),
                "deletedDateTime": None,
                "addresses": [
                    {
                        "city": "Lisbon",
                        "countryOrRegion": "Portugal",
                        "officeLocation": None,
                        "postalCode": "1000-001",
                        "state": None,
                        "street": f"{index} Example Road",
                    }
                ],
                "companyName": partner.title(),
                "department": None,
                "displayName": f"{first} {last}",
                "givenName": first,
                "jobTitle": "Account manager" if index % 4 == 0 else None,
                "mail": mail,
                "mailNickname": f"{first}.{last}{index}".lower(),
                "onPremisesLastSyncDateTime": build.ago(0.02) if synced else None,
                "onPremisesProvisioningErrors": [],
                "onPremisesSyncEnabled": True if synced else None,
                "phones": [
                    {
                        "language": None,
                        "number": f"+1 555 03{index % 100:02d}",
                        "region": None,
                        "type": "business",
                    }
                ],
                "proxyAddresses": [f"SMTP:{mail}"],
                "serviceProvisioningErrors": [],
                "surname": last,
            },
        )


def add_units(build: Build, count: int) -> None:
    """Add administrative units: by country (dynamic), by department, and a restricted one."""
    rng = build.rng("units")
    if not count:
        return
    _unit(
        build,
        "Restricted Executives",
        [*build.known.get("demo user", "").split(), *pick(rng, build.cloud_staff[2:], 5)],
        isMemberManagementRestricted=True,
        visibility="HiddenMembership",
    )
    choices = [
        (f"Country {name}", members, f'(user.country -eq "{name}")')
        for name, members in build.by_country.items()
    ] + [(f"{name} staff", members, None) for name, members in build.by_department.items()]
    rng.shuffle(choices)
    groups = list(build.tenant.objects["groups"])
    devices = list(build.tenant.objects["devices"])
    for name, members, rule in choices[: count - 1]:
        extra = [] if rule else pick(rng, groups, 5) + pick(rng, devices, 5)
        _unit(
            build,
            name,
            members + extra,
            membershipRule=rule,
            membershipRuleProcessingState="On" if rule else None,
            membershipType="Dynamic" if rule else "Assigned",
        )


def _unit(build: Build, name: str, members: list[str], **properties: object) -> None:
    rng: random.Random = build.rng(f"unit {name}")
    unit_id = build.add(
        "administrative_units",
        {
            "id": new_id(rng),
            "deletedDateTime": None,
            "description": None,
            "displayName": name,
            "isMemberManagementRestricted": False,
            "membershipRule": None,
            "membershipRuleProcessingState": None,
            "membershipType": "Assigned",
            "visibility": None,
            **properties,
        },
    )
    build.known[name] = unit_id
    build.link("administrative_unit_members", unit_id, members)
    if properties.get("isMemberManagementRestricted"):
        for member in members:
            collection = build.tenant.collection_of(member)
            if collection:
                build.get(collection, member)["isManagementRestricted"] = True
