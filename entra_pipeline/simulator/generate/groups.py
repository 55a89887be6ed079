"""Groups: their kinds, rules, sizes and nesting.

Here: group objects, their members and owners. Sizes are heavy-tailed by quota: about 20 % of the
groups have 20 members or more and 1 % have 500 or more, as far as there are users enough.
Nesting follows what Entra allows: cloud security groups hold security groups, synced ones hold
synced ones, distribution lists hold mail-enabled groups; Microsoft 365, dynamic and
role-assignable groups hold no groups. Not here: what groups give access to.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from entra_pipeline.simulator.generate.build import DEFAULT_DOMAIN, Build, new_id, pick
from entra_pipeline.simulator.generate.names import CITIES, DEPARTMENTS, PRODUCTS, PROJECTS
from entra_pipeline.simulator.tenant import JsonObject

_TEMPLATE: JsonObject = {
    "id": "",
    "deletedDateTime": None,
    "accessType": None,
    "assignedLabels": [],
    "assignedLicenses": [],
    "classification": None,
    "createdDateTime": None,
    "description": None,
    "displayName": None,
    "expirationDateTime": None,
    "groupTypes": [],
    "infoCatalogs": [],
    "isArchived": None,
    "isAssignableToRole": None,
    "isManagementRestricted": None,
    "licenseProcessingState": None,
    "mail": None,
    "mailEnabled": False,
    "mailNickname": None,
    "membershipRule": None,
    "membershipRuleProcessingState": None,
    "onPremisesDomainName": None,
    "onPremisesLastSyncDateTime": None,
    "onPremisesNetBiosName": None,
    "onPremisesProvisioningErrors": [],
    "onPremisesSamAccountName": None,
    "onPremisesSecurityIdentifier": None,
    "onPremisesSyncEnabled": None,
    "organizationId": None,
    "preferredDataLocation": None,
    "preferredLanguage": None,
    "proxyAddresses": [],
    "renewedDateTime": None,
    "resourceBehaviorOptions": [],
    "resourceProvisioningOptions": [],
    "securityEnabled": True,
    "securityIdentifier": None,
    "serviceProvisioningErrors": [],
    "theme": None,
    "uniqueName": None,
    "visibility": None,
}

MAX_DEPTH = 8
"""Nesting steps from the outermost to the innermost group of the longest chain."""

_SYNCED_DEPTH = 4

ROLE_GROUP_LIMIT = 500
"""Entra's limit of role-assignable groups in a tenant."""


@dataclass
class GroupSets:
    """Ids of the generated groups by what may be done with them."""

    dynamic: list[str] = field(default_factory=list)
    role_assignable: list[str] = field(default_factory=list)
    cloud_security: list[str] = field(default_factory=list)
    synced_security: list[str] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    microsoft_365: list[str] = field(default_factory=list)
    device_groups: list[str] = field(default_factory=list)


def add_groups(build: Build, count: int, named: Sequence[str] = ()) -> GroupSets:
    """Add `count` groups with members, owners and nesting.

    `named` groups are among them, but left empty; a name that starts with PAG is role-assignable.
    """
    maker = _Maker(build, count)
    maker.make(named)
    return maker.sets


class _Maker:
    def __init__(self, build: Build, count: int) -> None:
        self.build = build
        self.count = count
        self.rng = build.rng("groups")
        self.sets = GroupSets()
        self.huge_left = round(count * 0.01)
        self.mid_left = round(count * 0.20)
        self.names: dict[str, int] = {}
        users = build.tenant.objects["users"]
        self.synced_users = [
            user_id for user_id in build.members if users[user_id]["onPremisesSyncEnabled"]
        ]
        self.service_principals = [
            principal["id"]
            for principal in build.tenant.objects["service_principals"].values()
            if principal["servicePrincipalType"] == "ManagedIdentity"
            or principal["appOwnerOrganizationId"] == build.tenant.tenant_id
        ]
        self.devices = list(build.tenant.objects["devices"])
        self.contacts = list(build.tenant.objects["contacts"])

    def make(self, named: Sequence[str]) -> None:
        for name in named:
            privileged = name.startswith("PAG")
            group = self._new(
                name,
                isAssignableToRole=True if privileged else None,
                visibility="Private" if privileged else None,
            )
            self.build.known[name] = group["id"]
        self._dynamic(max(1, round(self.count * 0.06)) if self.count else 0)
        left = self.count - len(named) - len(self.sets.dynamic)
        role_groups = min(ROLE_GROUP_LIMIT, left, max(4, round(self.count * 0.012)))
        for index in range(role_groups):
            self._role_assignable(index)
        self._assigned(left - role_groups)
        self._nest()

    # Objects

    def _new(self, name: str, **properties: object) -> JsonObject:
        rng = self.rng
        group_id = new_id(rng)
        nick = "".join(c for c in name.lower() if (c.isascii() and c.isalnum()) or c in "-.")
        number = self.names.get(nick, 0) + 1
        self.names[nick] = number
        if number > 1:
            nick = f"{nick}{number}"
            if number % 5:  # some display names do occur twice
                name = f"{name} {number}"
        created = self.build.past_time(rng)
        group = dict(_TEMPLATE)
        group["id"] = group_id
        group["displayName"] = name
        group["mailNickname"] = nick
        group["createdDateTime"] = created
        group["renewedDateTime"] = created
        group["securityIdentifier"] = f"S-1-12-1-{int(group_id[:8], 16)}-{rng.getrandbits(31)}"
        group.update(properties)
        if group["mailEnabled"]:
            mail = f"{nick}@{DEFAULT_DOMAIN}"
            group["mail"] = mail
            group["proxyAddresses"] = [f"SMTP:{mail}"]
        self.build.add("groups", group)
        return group

    def _members(self, group_id: str, members: list[str]) -> None:
        if members:
            self.build.link("group_members", group_id, members)

    def _owners(self, group_id: str, cloud: bool = True) -> None:
        chance = self.rng.random()
        if not cloud or chance < 0.15 or not self.build.staff:
            return
        owners = pick(self.rng, self.build.staff, 1 + int(chance * 10) % 3)
        if chance > 0.97 and self.service_principals:
            owners.append(self.rng.choice(self.service_principals))
        self.build.link("group_owners", group_id, owners)

    # Dynamic groups: the rule is true of exactly the members

    def _dynamic(self, count: int) -> None:
        for name, rule, members in self._rules():
            if len(self.sets.dynamic) >= count:
                return
            huge = len(members) >= 500
            if huge and self.huge_left <= 0:
                continue
            self.huge_left -= huge
            self.mid_left -= len(members) >= 20
            unified = len(self.sets.dynamic) % 4 == 3
            group = self._new(
                name,
                description="Membership follows a rule",
                groupTypes=["Unified", "DynamicMembership"] if unified else ["DynamicMembership"],
                mailEnabled=unified,
                membershipRule=rule,
                membershipRuleProcessingState="Paused" if self.rng.random() < 0.03 else "On",
                visibility="Private" if unified else None,
            )
            self._members(group["id"], members)
            self.sets.dynamic.append(group["id"])
            self.build.known[name] = group["id"]

    def _rules(self) -> Iterator[tuple[str, str, list[str]]]:
        build = self.build
        everyone = [
            user_id
            for user_id in build.members
            if build.get("users", user_id)["userType"] == "Member"
        ]
        rule = '(user.userType -eq "Member") and (user.employeeId -ne null)'
        yield "All Employees", rule, everyone
        guests = [
            guest for guest in build.guests if build.get("users", guest)["userType"] == "Guest"
        ]
        yield "All Guests", '(user.userType -eq "Guest")', guests
        active = '(user.accountEnabled -eq true) and (user.companyName -eq "Contoso")'
        countries = list(dict.fromkeys(place[2] for place in CITIES))
        for index, department in enumerate(DEPARTMENTS):
            yield (
                f"Dept {department}",
                f'{active} and (user.department -eq "{department}")',
                build.by_department.get(department, []),
            )
            if index < len(countries):
                yield (
                    f"Country {countries[index]}",
                    f'{active} and (user.country -eq "{countries[index]}")',
                    build.by_country.get(countries[index], []),
                )
        for place in CITIES:
            yield (
                f"Site {place[0]}",
                f'{active} and (user.city -eq "{place[0]}")',
                build.by_city.get(place[0], []),
            )
        in_city = {city: set(members) for city, members in build.by_city.items()}
        for department in DEPARTMENTS:
            people = build.by_department.get(department, [])
            for place in CITIES:
                local = in_city.get(place[0], set())
                yield (
                    f"{department} {place[0]}",
                    f'{active} and (user.department -eq "{department}")'
                    f' and (user.city -eq "{place[0]}")',
                    [person for person in people if person in local],
                )

    # Assigned groups

    def _role_assignable(self, index: int) -> None:
        area = ("Tier0", "Tier1", "Helpdesk", "Cloud-Ops", "Auditors")[index % 5]
        name = f"PAG-{area}-{index + 1:03d}"
        group = self._new(
            name,
            description="Privileged access group",
            isAssignableToRole=True,
            visibility="Private",
        )
        pool = self.build.cloud_staff[2:] or self.build.staff
        members = pick(self.rng, pool, self.rng.choice((0, 1, 2, 3, 4, 6, 9, 12)))
        if index % 7 == 3 and self.service_principals:
            members.append(self.rng.choice(self.service_principals))
        self._members(group["id"], members)
        if pool:
            self.build.link("group_owners", group["id"], pick(self.rng, pool, 1))
        self.sets.role_assignable.append(group["id"])

    def _assigned(self, count: int) -> None:
        rng = self.rng
        reachable = len(self.build.members)
        sizes = []
        if reachable >= 500:
            for _ in range(max(0, self.huge_left)):
                wanted = 500 * (1 - rng.random()) ** (-1 / 1.25)
                sizes.append(int(min(wanted, max(500, reachable * 0.7))))
        if reachable >= 20:
            sizes += [
                min(int(20 * 24 ** (rng.random() ** 1.3)), reachable, 499)
                for _ in range(max(0, self.mid_left - len(sizes)))
            ]
        sizes = sizes[:count]
        sizes += [
            min(int(19.9 * rng.random() ** 1.9), reachable) for _ in range(count - len(sizes))
        ]
        rng.shuffle(sizes)
        for index, size in enumerate(sizes):
            kind = rng.random()
            if kind < 0.34:
                self._security(index, size)
            elif kind < 0.60:
                self._synced(index, size)
            elif kind < 0.83:
                self._microsoft_365(index, size)
            elif kind < 0.94:
                self._distribution(index, size)
            elif kind < 0.98:
                self._mail_security(index, size)
            else:
                self._device_group(index, size)

    def _people(self, size: int) -> list[str]:
        """Members of an assigned group: mostly of one department if that has enough people."""
        build, rng = self.build, self.rng
        department = build.by_department.get(rng.choice(DEPARTMENTS), [])
        pool = department if len(department) > 2 * size and rng.random() < 0.6 else build.members
        return pick(rng, pool, size)

    def _security(self, index: int, size: int) -> None:
        rng = self.rng
        project, product = rng.choice(PROJECTS), rng.choice(PRODUCTS)
        name = f"SG-{product}-{('Users', 'Editors', 'Readers', 'Admins', 'Approvers')[index % 5]}"
        if index % 3 == 0:
            name = f"SG-Project-{project}"
        if index % 97 == 0:
            name = f'Über-Team "{project}" & O\'Hara / {product}'
        group = self._new(
            name,
            description=None if index % 4 else f"Access to {product}",
            isManagementRestricted=None,
            uniqueName=f"{product.lower()}-{index}" if index % 50 == 1 else None,
        )
        members = self._people(size)
        chance = rng.random()
        if chance < 0.06 and self.service_principals:
            members += pick(rng, self.service_principals, 1 + int(chance * 100) % 3)
        elif chance < 0.16 and self.build.guests:
            members += pick(rng, self.build.guests, 1 + int(chance * 100) % 4)
        self._members(group["id"], members)
        self._owners(group["id"])
        self.sets.cloud_security.append(group["id"])

    def _synced(self, index: int, size: int) -> None:
        sam = f"{self.rng.choice(PRODUCTS)}_{('RW', 'RO', 'ADM')[index % 3]}_{index}"
        group = self._new(
            f"AD-{sam}",
            onPremisesDomainName="corp.contoso.example",
            onPremisesLastSyncDateTime=self.build.ago(0.02),
            onPremisesNetBiosName="CORP",
            onPremisesSamAccountName=sam,
            onPremisesSecurityIdentifier=f"S-1-5-21-1004-{self.rng.getrandbits(31)}-{index + 1100}",
            onPremisesSyncEnabled=True,
        )
        self._members(group["id"], pick(self.rng, self.synced_users, size))
        self.sets.synced_security.append(group["id"])

    def _microsoft_365(self, index: int, size: int) -> None:
        rng = self.rng
        team = index % 2 == 0
        name = f"{rng.choice(PROJECTS)} {('Squad', 'Programme', 'Community', 'Office')[index % 4]}"
        chance = rng.random()
        group = self._new(
            name,
            assignedLabels=[],
            description=name,
            expirationDateTime=self.build.ago(-120) if index % 10 == 0 else None,
            groupTypes=["Unified"],
            isArchived=True if chance < 0.04 else None,
            mailEnabled=True,
            resourceBehaviorOptions=["WelcomeEmailDisabled"] if team else [],
            resourceProvisioningOptions=["Team"] if team else [],
            securityEnabled=index % 5 == 0,
            visibility="HiddenMembership"
            if chance > 0.985
            else ("Public" if chance < 0.4 else "Private"),
        )
        members = self._people(size)
        if chance < 0.35 and self.build.guests:
            members += pick(rng, self.build.guests, 1 + index % 5)
        self._members(group["id"], members)
        self._owners(group["id"])
        self.sets.microsoft_365.append(group["id"])

    def _distribution(self, index: int, size: int) -> None:
        group = self._new(
            f"DL {self.rng.choice(DEPARTMENTS)} {('News', 'Announcements', 'On-call')[index % 3]}",
            mailEnabled=True,
            securityEnabled=False,
            onPremisesSyncEnabled=True if index % 4 == 0 else None,
            onPremisesLastSyncDateTime=self.build.ago(0.02) if index % 4 == 0 else None,
        )
        members = self._people(size)
        if self.contacts and index % 3 == 0:
            members += pick(self.rng, self.contacts, 1 + index % 4)
        self._members(group["id"], members)
        if index % 4:
            self._owners(group["id"])
            self.sets.mail.append(group["id"])

    def _mail_security(self, index: int, size: int) -> None:
        group = self._new(f"MSG-{self.rng.choice(PRODUCTS)}-Managers", mailEnabled=True)
        self._members(group["id"], self._people(size))
        self._owners(group["id"])
        self.sets.mail.append(group["id"])

    def _device_group(self, index: int, size: int) -> None:
        group = self._new(f"DEV-{('Kiosks', 'Laptops', 'Phones')[index % 3]}-{index}")
        self._members(group["id"], pick(self.rng, self.devices, size))
        self._owners(group["id"])
        self.sets.device_groups.append(group["id"])

    # Nesting

    def _nest(self) -> None:
        rng = self.build.rng("nesting")
        cloud, synced, mail = (
            self.sets.cloud_security,
            self.sets.synced_security,
            self.sets.mail,
        )
        cycles = min(max(2, self.count // 1500), len(cloud) // 12)
        ring_members = cloud[: cycles * 3]
        chain = cloud[cycles * 3 : cycles * 3 + MAX_DEPTH + 1]
        free = cloud[cycles * 3 + MAX_DEPTH + 1 :]
        for outer, inner in pairwise(chain):
            self._members(outer, [inner])
        levels = self._nest_by_level(rng, free, MAX_DEPTH, round(len(free) * 0.30))
        self._nest_by_level(rng, synced, _SYNCED_DEPTH, round(len(synced) * 0.20))
        self._nest_by_level(rng, mail, 3, round(len(mail) * 0.25))
        # Only where the synced groups' own chains still fit below.
        shallow = [group for level in levels[: MAX_DEPTH - _SYNCED_DEPTH] for group in level]
        for _ in range(len(shallow) // 12 if synced else 0):
            self._members(rng.choice(shallow), [rng.choice(synced)])
        for index in range(cycles):
            self._ring(rng, ring_members[index * 3 : index * 3 + 3], levels[0], index)

    def _nest_by_level(
        self, rng: random.Random, groups: list[str], depth: int, edges: int
    ) -> list[list[str]]:
        """Random links from a lower level to a higher one: no cycle, no chain beyond `depth`.

        Returns the groups by level, the outermost first.
        """
        levels: list[list[str]] = [[] for _ in range(depth + 1)]
        for group in groups:
            levels[min(int(rng.expovariate(0.9)), depth)].append(group)
        inner = [(level, group) for level in range(1, depth + 1) for group in levels[level]]
        outer: list[list[str]] = [[]]
        for level in range(depth + 1):
            outer.append(outer[-1] + levels[level])
        for _ in range(edges if inner else 0):
            level, child = rng.choice(inner)
            # Half of the links go to the level just outside: that is how chains get long.
            pool = levels[level - 1] if rng.random() < 0.5 else outer[level]
            if pool:
                self._members(rng.choice(pool), [child])
        return levels

    def _ring(self, rng: random.Random, ring: list[str], outermost: list[str], index: int) -> None:
        """A small cycle; every other one hangs inside an ordinary group."""
        ring = ring[: 2 + index % 2]
        for outer, inner in zip(ring, ring[1:] + ring[:1], strict=True):
            self._members(outer, [inner])
        if index % 2 == 0 and outermost:
            self._members(rng.choice(outermost), [ring[0]])
