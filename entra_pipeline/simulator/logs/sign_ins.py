"""Sign-ins: an invented past of interactive sign-ins of the tenant's users.

An event is put together from parts that are encoded once (a user, an application, a device, an
outcome), because a day of a million sign-ins must be served in half a minute. The same tenant and
seed give the same sign-ins for the same day, whenever they are asked for.
"""

import random
import struct

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.logs.feed import BLOCK
from entra_pipeline.simulator.logs.schedule import TICK, Schedule, second_of
from entra_pipeline.simulator.wire import JsonObject, encode_json

_MAX_PARTS = 200_000
"""Encoded users that are kept."""

_CLIENTS: tuple[tuple[str, str], ...] = (
    ("Office 365 Exchange Online", "00000002-0000-0ff1-ce00-000000000000"),
    ("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264"),
    ("Office365 Shell WCSS-Client", "89bee1f7-5e6e-4d8a-9f3d-ecd601259da7"),
    ("Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"),
    ("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c"),
)
"""Microsoft's own clients: where most sign-ins go."""
_GRAPH = ("Microsoft Graph", "00000003-0000-0000-c000-000000000000")
_OWN_APPLICATIONS = 200

_DEVICES: tuple[tuple[str, str, str, str], ...] = (
    ("Browser", "Windows10", "Edge 141.0.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Edg/141.0"),
    ("Browser", "Windows10", "Chrome 141.0.0", "Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/141.0"),
    ("Browser", "MacOs", "Safari 18.5", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari"),
    ("Mobile Apps and Desktop clients", "Windows10", "Rich Client 5.2.8.0", "Windows-AzureAD"),
    ("Mobile Apps and Desktop clients", "Ios 18.5", "Mobile Safari 18.5", "Mozilla/5.0 (iPhone)"),
    ("Mobile Apps and Desktop clients", "Android 15", "Chrome Mobile 141", "Dalvik/2.1.0 (Linux)"),
)
_OUTCOMES: tuple[tuple[int, str, str | None, str], ...] = (
    (50126, "Error validating credentials due to invalid username or password.", None, "low"),
    (50074, "Strong Authentication is required.", "MFA required in Azure AD", "none"),
    (50053, "The account is locked because of too many tries.", None, "medium"),
    (53003, "Access has been blocked by Conditional Access policies.", None, "none"),
    (50140, "The user was asked whether to stay signed in.", None, "none"),
)
"""Error code, reason, details, risk level; names of codes: Microsoft Entra error codes."""
_SUCCESSES = 230
"""Of 256 sign-ins, how many succeed."""
_NOISE = struct.Struct("<IHBBBBH")
"""Of each event: user, application, device, outcome kind, outcome, part of the address, policy."""


class SignIns:
    """Invents the sign-ins of one tenant, as it was when the simulator started."""

    def __init__(self, directory: Directory, schedule: Schedule, seed: int) -> None:
        self._schedule = schedule
        self._seed = seed
        self._tenant_id = directory.tenant.tenant_id
        self._directory = directory
        self._users = [
            user
            for user in directory.collection("users").values()
            if user.get("accountEnabled") is not False
        ]
        self._encoded_users: dict[int, bytes] = {}
        self._clients = self._encoded_clients(directory)
        self._devices = [
            _part(
                clientAppUsed=client,
                userAgent=agent,
                deviceDetail={
                    "deviceId": "",
                    "displayName": "",
                    "operatingSystem": system,
                    "browser": browser,
                    "isCompliant": False,
                    "isManaged": False,
                    "trustType": "",
                },
                authenticationAppDeviceDetails=None,
            )
            for client, system, browser, agent in _DEVICES
        ]
        policies = list(directory.collection("conditional_access_policies").values())
        self._good = [_success(policies, each) for each in range(max(1, min(4, len(policies))))]
        self._bad = [_failure(policies, *outcome) for outcome in _OUTCOMES]
        self._good_hidden = [_success([], 0)]
        self._bad_hidden = [_failure([], *outcome) for outcome in _OUTCOMES]

    @property
    def possible(self) -> bool:
        """Whether there is anybody to sign in."""
        return bool(self._users)

    def block(self, number: int, policies: bool) -> list[bytes]:
        """The encoded events of a block. Without `policies` none are shown as applied."""
        noise = random.Random(f"{self._seed}:sign-ins:{number}").randbytes(BLOCK * 44)
        ids = noise[: BLOCK * 32].hex().encode()
        choices = _NOISE.iter_unpack(noise[BLOCK * 32 :])
        good = self._good if policies else self._good_hidden
        bad = self._bad if policies else self._bad_hidden
        moment, user_part = self._schedule.moment, self._user
        users, clients, devices = len(self._users), self._clients, self._devices
        client_count, device_count, good_count, bad_count = map(len, (clients, devices, good, bad))
        second, stamp = -1, b""
        rows: list[bytes] = []
        at = 0
        for event, (user, client, device, kind, outcome, address, policy) in enumerate(
            choices, number * BLOCK
        ):
            ticks = moment(event)
            if ticks // TICK != second:
                second = ticks // TICK
                stamp = second_of(ticks).encode()
            rows.append(
                b'{"id":"%b-%b-4%b-a%b-%b","createdDateTime":"%b","correlationId":"%b-%b-4%b-b%b'
                b'-%b","ipAddress":"203.0.113.%d"%b%b%b%b}'
                % (
                    ids[at : at + 8],
                    ids[at + 8 : at + 12],
                    ids[at + 12 : at + 15],
                    ids[at + 15 : at + 18],
                    ids[at + 18 : at + 30],
                    stamp,
                    ids[at + 30 : at + 38],
                    ids[at + 38 : at + 42],
                    ids[at + 42 : at + 45],
                    ids[at + 45 : at + 48],
                    ids[at + 48 : at + 60],
                    address,
                    user_part(user % users),
                    clients[client % client_count],
                    devices[(user % users + (device > 200)) % device_count],
                    good[policy % good_count] if kind < _SUCCESSES else bad[outcome % bad_count],
                )
            )
            at += 64
        return rows

    def _user(self, position: int) -> bytes:
        known = self._encoded_users.get(position)
        if known is None:
            if len(self._encoded_users) >= _MAX_PARTS:
                self._encoded_users.clear()
            known = self._encoded_users[position] = self._encode_user(self._users[position])
        return known

    def _encode_user(self, user: JsonObject) -> bytes:
        guest = user.get("userType") == "Guest"
        home = roles.derived_id(self._directory, "home", user["id"]) if guest else self._tenant_id
        return _part(
            userDisplayName=user.get("displayName"),
            userPrincipalName=user.get("userPrincipalName"),
            userId=user["id"],
            homeTenantId=home,
            resourceTenantId=self._tenant_id,
            location={
                "city": user.get("city"),
                "state": user.get("state"),
                "countryOrRegion": user.get("usageLocation"),
                "geoCoordinates": None,
            },
        )

    @staticmethod
    def _encoded_clients(directory: Directory) -> list[bytes]:
        own = [
            (str(each.get("displayName")), str(each["appId"]))
            for each in directory.collection("service_principals").values()
            if each.get("servicePrincipalType") == "Application" and each.get("appId")
        ][:_OWN_APPLICATIONS]
        # Three of four sign-ins are to Microsoft's own.
        clients = [*_CLIENTS * max(1, len(own) * 3 // len(_CLIENTS)), *own]
        resource, resource_id = _GRAPH
        return [
            _part(
                appDisplayName=name,
                appId=app_id,
                resourceDisplayName=resource,
                resourceId=resource_id,
                isInteractive=True,
                servicePrincipalId="",
                servicePrincipalName=None,
            )
            for name, app_id in clients
        ]


def _success(policies: list[JsonObject], first: int) -> bytes:
    applied = [
        _policy(policy, "success" if position == first else "notApplied")
        for position, policy in enumerate(policies[:4])
    ]
    return _outcome(0, "Other.", None, "none", "success" if policies else "notApplied", applied)


def _failure(
    policies: list[JsonObject], code: int, reason: str, details: str | None, risk: str
) -> bytes:
    blocked = code == 53003
    applied = [_policy(policy, "failure" if blocked else "notApplied") for policy in policies[:1]]
    return _outcome(code, reason, details, risk, "failure" if blocked else "notApplied", applied)


def _policy(policy: JsonObject, result: str) -> JsonObject:
    return {
        "id": policy["id"],
        "displayName": policy.get("displayName"),
        "enforcedGrantControls": ["Mfa"] if result == "success" else [],
        "enforcedSessionControls": [],
        "result": result,
    }


def _outcome(
    code: int,
    reason: str,
    details: str | None,
    risk: str,
    conditional_access: str,
    applied: list[JsonObject],
) -> bytes:
    return _part(
        status={"errorCode": code, "failureReason": reason, "additionalDetails": details},
        conditionalAccessStatus=conditional_access,
        riskDetail="none",
        riskLevelAggregated=risk,
        riskLevelDuringSignIn=risk,
        riskState="none" if risk == "none" else "atRisk",
        riskEventTypes=[] if risk == "none" else ["unfamiliarFeatures"],
        riskEventTypes_v2=[] if risk == "none" else ["unfamiliarFeatures"],
        appliedConditionalAccessPolicies=applied,
    )


def _part(**values: object) -> bytes:
    """Members of a JSON object, with a comma before them and no braces."""
    return b"," + encode_json(values)[1:-1]
