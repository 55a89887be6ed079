"""Licences: what the tenant bought, and who has it directly or by a group.

Here: subscribed SKUs, the licences of groups, and what those give to users: a group's licence
reaches its direct members only, and sometimes fails. Product and plan ids are Microsoft's public
ones. Not here: the organisation's own service plans (`estate`).
"""

from collections import Counter

from entra_pipeline.simulator.generate.build import Build, pick
from entra_pipeline.simulator.generate.estate import EXCHANGE_PLAN, premium_plans
from entra_pipeline.simulator.generate.groups import GroupSets
from entra_pipeline.simulator.tenant import JsonObject

_TEAMS = ("57ff2da0-773e-42df-b2af-ffb7a2317929", "TEAMS1")
_EXCHANGE = (EXCHANGE_PLAN, "EXCHANGE_S_ENTERPRISE")
_SHAREPOINT = ("5dbe027f-2339-4123-9542-606e4d348a72", "SHAREPOINTENTERPRISE")
_OFFICE = ("43de0ff5-c92c-492b-9116-175376d08c38", "OFFICESUBSCRIPTION")
_INTUNE = ("c1ec4a95-1f05-45b3-a911-aa3fa01094f5", "INTUNE_A")
_MFA = ("8a256a2b-b617-496d-b51b-e76466e88db0", "MFA_PREMIUM")
_SWAY = ("a23b959c-7ce8-4e57-9140-b90eb88a9e97", "SWAY")
_FOUNDATION = ("113feb6c-3fe4-4440-bddc-54d774bf0318", "EXCHANGE_S_FOUNDATION")

_BASE = {
    "free": ("18181a46-0d4e-45cd-891e-60aabd171b4e", "STANDARDPACK"),
    "p1": ("05e9a617-0261-4cee-bb44-138d3ef5d965", "SPE_E3"),
    "p2": ("06ebc4ee-1bb5-47dd-8120-11324bc54e06", "SPE_E5"),
}
"""The SKU that every employee gets, by the tenant's Entra licence."""

_POWER_BI = "f8a1db68-be16-40ed-86d5-cb42ce701560"
_VISIO = "c5928f49-12ba-48f7-ada3-0d743a3601d5"
_PROJECT = "53818b1b-4a27-454b-8896-0dba576410e6"
_FLOW = "f30db892-07e9-47e9-837c-80727f46fd3d"
_EXTRA: dict[str, tuple[str, list[tuple[str, str]]]] = {
    _POWER_BI: (
        "POWER_BI_PRO",
        [("70d33638-9c74-4d01-bfd3-562de28bd4ba", "BI_AZURE_P2"), _FOUNDATION],
    ),
    _VISIO: (
        "VISIOCLIENT",
        [("663a804f-1c30-4ff0-9915-9db84f0d1cea", "VISIO_CLIENT_SUBSCRIPTION"), _FOUNDATION],
    ),
    _PROJECT: (
        "PROJECTPROFESSIONAL",
        [("fafd7243-e5c1-4a3a-9e40-495efcb1d3c3", "PROJECT_CLIENT_SUBSCRIPTION"), _FOUNDATION],
    ),
    _FLOW: (
        "FLOW_FREE",
        [("50e68c76-46c6-4674-81f9-75456511b170", "FLOW_P2_VIRAL"), _FOUNDATION],
    ),
}

_Holding = tuple[str, str | None, str, str]
"""SKU id, group that gives it or None, state, error."""


def add_licences(build: Build, groups: GroupSets) -> None:
    """Add SKUs and give licences to groups and users."""
    base_sku, base_name = _BASE[build.license]
    base_plans = [_EXCHANGE, _TEAMS, _SHAREPOINT, _OFFICE, _INTUNE, _MFA, _SWAY]
    base_plans += premium_plans(build.license)
    catalogue = {base_sku: (base_name, base_plans), **_EXTRA}
    holdings: dict[str, list[_Holding]] = {}
    _by_groups(build, groups, base_sku, holdings)
    _direct(build, base_sku, holdings)
    _write(build, catalogue, holdings)
    consumed = Counter(
        sku for held in holdings.values() for sku in {h[0] for h in held if h[2] == "Active"}
    )
    for sku, (name, plans) in catalogue.items():
        _subscribe(build, sku, name, plans, consumed[sku])


def _by_groups(
    build: Build, groups: GroupSets, base_sku: str, holdings: dict[str, list[_Holding]]
) -> None:
    licensed = [(group, base_sku) for group in groups.dynamic[:1]]
    sized = sorted(
        groups.cloud_security[30:],
        key=lambda group: (len(build.tenant.links["group_members"].get(group, ())), group),
    )
    middle = len(sized) * 9 // 10
    licensed += [(group, _POWER_BI) for group in sized[middle : middle + 2]]
    licensed += [(group, _VISIO) for group in sized[-1:]]
    users = build.tenant.objects["users"]
    for index, (group_id, sku) in enumerate(licensed):
        group = build.get("groups", group_id)
        group["assignedLicenses"] = [
            {"disabledPlans": [_SWAY[0]] if sku == base_sku else [], "skuId": sku}
        ]
        group["licenseProcessingState"] = {"state": "ProcessingComplete"}
        members = build.tenant.links["group_members"].get(group_id, ())
        for position, member in enumerate(members):
            user = users.get(member)
            if user is None:
                continue
            state, error = "Active", "None"
            if user["usageLocation"] is None:
                state, error = "Error", "ProhibitedInUsageLocationViolation"
            elif index == 1 and position > len(members) * 0.9:
                state, error = "Error", "CountViolation"
            elif index == 3 and position % 50 == 7:
                state, error = "Error", "DependencyViolation"
            holdings.setdefault(member, []).append((sku, group_id, state, error))


def _direct(build: Build, base_sku: str, holdings: dict[str, list[_Holding]]) -> None:
    rng = build.rng("licences")
    for sku, share in ((_FLOW, 0.12), (_VISIO, 0.04), (_PROJECT, 0.03), (base_sku, 0.01)):
        for user_id in pick(rng, build.members, round(len(build.members) * share)):
            holdings.setdefault(user_id, []).append((sku, None, "Active", "None"))


def _write(
    build: Build,
    catalogue: dict[str, tuple[str, list[tuple[str, str]]]],
    holdings: dict[str, list[_Holding]],
) -> None:
    """Set the three licence properties of users; equal values are shared between users."""
    rng = build.rng("licence times")
    times = [build.past_time(rng) for _ in range(16)]
    states: dict[tuple[object, ...], list[JsonObject]] = {}
    licences: dict[tuple[str, ...], list[JsonObject]] = {}
    plans: dict[tuple[object, ...], list[JsonObject]] = {}
    base_sku = _BASE[build.license][0]
    users = build.tenant.objects["users"]
    for number, (user_id, held) in enumerate(holdings.items()):
        variant = number % 16
        key = (variant, *held)
        if key not in states:
            states[key] = [
                {
                    "assignedByGroup": group,
                    "disabledPlans": [_SWAY[0]] if group and sku == base_sku else [],
                    "error": error,
                    "lastUpdatedDateTime": times[variant],
                    "skuId": sku,
                    "state": state,
                }
                for sku, group, state, error in held
            ]
        active = tuple(dict.fromkeys(h[0] for h in held if h[2] == "Active"))
        if active not in licences:
            licences[active] = [
                {"disabledPlans": [_SWAY[0]] if sku == base_sku else [], "skuId": sku}
                for sku in active
            ]
        plan_key = (variant, *active)
        if plan_key not in plans:
            plans[plan_key] = [
                {
                    "assignedDateTime": times[variant],
                    "capabilityStatus": "Enabled",
                    "service": name.split("_")[0].lower(),
                    "servicePlanId": plan_id,
                }
                for sku in active
                for plan_id, name in catalogue[sku][1]
            ]
        user = users[user_id]
        user["licenseAssignmentStates"] = states[key]
        user["assignedLicenses"] = licences[active]
        user["assignedPlans"] = plans[plan_key]


def _subscribe(
    build: Build, sku: str, name: str, plans: list[tuple[str, str]], consumed: int
) -> None:
    rng = build.rng(f"sku {name}")
    enabled = (
        10000 if sku == _FLOW else (consumed if sku == _POWER_BI else consumed + consumed // 9)
    )
    build.add(
        "subscribed_skus",
        {
            "id": f"{build.tenant.tenant_id}_{sku}",
            "accountId": build.tenant.tenant_id,
            "accountName": "contoso",
            "appliesTo": "User",
            "capabilityStatus": "Enabled",
            "consumedUnits": consumed,
            "prepaidUnits": {"enabled": enabled, "lockedOut": 0, "suspended": 0, "warning": 0},
            "servicePlans": [
                {
                    "appliesTo": "Company" if plan == _FOUNDATION[1] else "User",
                    "provisioningStatus": "Success",
                    "servicePlanId": plan_id,
                    "servicePlanName": plan,
                }
                for plan_id, plan in plans
            ],
            "skuId": sku,
            "skuPartNumber": name,
            "subscriptionIds": [f"{rng.getrandbits(128):032x}"],
        },
    )
