"""The demo's five answers against a plain walk over the simulator's raw JSON.

The demo's tenant, synced the way of the product; then the very commands that the demo runs, with
`--json`, as processes. What they say is compared with `naive`, which shares no code with the
product and reads nothing but what the simulator holds.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from entra_pipeline.cli.demo import questions, state
from entra_pipeline.simulator.generate import DEMO_APPLICATION_NAME, DEMO_USER_UPN
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import tiers
from tests.cli.program import cli
from tests.oracle.naive import EVERYONE, LINKS, OBJECTS, ZERO, Naive
from tests.support import sync

ADMIN = "Global Administrator"
READER = f"{DEMO_APPLICATION_NAME}: Reader"


class Truth:
    """The raw JSON, the walk over it, and what things in it are called."""

    def __init__(self, simulator: Simulator) -> None:
        self.objects = {name: simulator.truth(name) for name in OBJECTS}
        links = {name: simulator.truth(name) for name in LINKS}
        self.naive = Naive(self.objects, links, datetime.now(UTC))
        self.by_id = {
            row["id"]: (collection, row)
            for collection in ("users", "groups", "devices", "contacts", "service_principals")
            for row in self.objects[collection]
        }
        self.roles = {row["id"]: row for row in self.objects["role_definitions"]}
        self._held_by: dict[str, set[str]] = defaultdict(set)
        for entitlement, holds in self.naive.holds.items():
            for hold in holds:
                self._held_by[hold.holder].add(entitlement)
        for (person, sku), _ in self.naive.licensed.items():
            self._held_by[person].add(sku)

    def user(self, upn: str) -> str:
        """The id of a user."""
        [found] = [row["id"] for row in self.objects["users"] if row["userPrincipalName"] == upn]
        return str(found)

    def above(self, principal: str) -> set[str]:
        """Every group that the principal is in, however deep, in any state."""
        found: set[str] = set()
        waiting = [principal]
        while waiting:
            for group, _ in self.naive.up.get(waiting.pop(), ()):
                if group not in found:
                    found.add(group)
                    waiting.append(group)
        return found

    def paths(self, principal: str, entitlement: str) -> list[tuple[str, tuple[str, ...]]]:
        """Every simple path, with its state."""
        return list(self.naive.paths(principal, entitlement))

    def held(self, principal: str) -> dict[tuple[str, str], list[tuple[str, ...]]]:
        """(entitlement, state) to the paths by which the principal holds it."""
        found: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
        candidates = set().union(*(self._held_by[x] for x in {principal, *self.above(principal)}))
        for entitlement in candidates:
            for state_, trail in self.paths(principal, entitlement):
                found[entitlement, state_].append(trail)
        return found

    def holders(self, entitlement: str) -> dict[tuple[str, str], list[tuple[str, ...]]]:
        """(principal, state) to the paths by which it holds the entitlement."""
        found: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
        for principal in self.naive.principals() - {EVERYONE}:
            for state_, trail in self.paths(principal, entitlement):
                found[principal, state_].append(trail)
        return found

    def described(self, principal: str) -> tuple[str, str | None, bool | None]:
        """Kind, name and whether enabled."""
        if principal not in self.by_id:
            return "unknown", None, None
        collection, row = self.by_id[principal]
        kind = {
            "users": "guest" if row.get("userType") == "Guest" else "user",
            "groups": "group",
            "devices": "device",
            "contacts": "contact",
            "service_principals": "managed_identity"
            if row.get("servicePrincipalType") == "ManagedIdentity"
            else "service_principal",
        }[collection]
        name = row.get("displayName") or row.get("userPrincipalName") or row.get("mail")
        return kind, name, row.get("accountEnabled")

    def meaning(self, entitlement: str) -> tuple[str, int | None]:
        """The name of a role or permission of an application within its resource, and its tier.

        The tier is a fact of ours, taken from where it is written down.
        """
        form, _, rest = entitlement.partition(":")
        if form == "role":
            role = self.roles.get(rest.partition("@")[0])
            if role is None:
                return rest, None
            actions = [
                action
                for permission in role["rolePermissions"]
                for action in permission["allowedResourceActions"]
            ]
            return role["displayName"], tiers.role_tier(role["templateId"], actions)
        resource, _, what = rest.partition(":")
        _, owner = self.by_id.get(resource, ("", {}))
        if form == "delegated":
            return what, tiers.permission_tier(owner.get("appId"), what, delegated=True)
        if form == "app":
            for role in owner.get("appRoles") or ():
                if role["id"] == what:
                    return role["value"], tiers.permission_tier(owner["appId"], role["value"])
        return what, None


@dataclass(frozen=True)
class Demo:
    """The synced tenant and what the demo's commands say about it."""

    truth: Truth
    answers: Mapping[tuple[str, ...], Any]

    def answer(self, *words: str) -> Any:
        """The document of the command that begins with these words."""
        [found] = [said for command, said in self.answers.items() if command[: len(words)] == words]
        assert found["complete"] is True
        assert found["missing"] == []
        return found

    def query(self, containing: str) -> list[dict[str, Any]]:
        """The rows of the query in which the text occurs."""
        [found] = [
            said
            for command, said in self.answers.items()
            if command[0] == "query" and containing in command[1]
        ]
        assert found["complete"] is True
        return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Sync the demo's tenant and ask what the demo asks."""
    data = tmp_path_factory.mktemp("demo") / "data"
    with running(**asdict(state.Parameters())) as simulator:
        sync(simulator, data)
        truth = Truth(simulator)
    answers = {}
    for asked in questions.questions():
        for arguments, _ in asked.commands:
            done = cli(*arguments, "--json", "--data-dir", str(data))
            assert done.code == 0, done.err
            answers[arguments] = done.json
    return Demo(truth, answers)


def compare_holders(demo: Demo, answer: Any, expected: Mapping[Any, list[tuple[str, ...]]]) -> None:
    said = {}
    for row in answer["principals"]:
        key = (row["principal_id"], row["state"])
        assert key not in said, f"{key} is listed twice"
        said[key] = (row["direct"], row["depth"], row["paths"])
        assert (row["kind"], row["name"], row["enabled"]) == demo.truth.described(key[0])
    assert said == shape(expected)


def shape(
    held: Mapping[tuple[str, str], list[tuple[str, ...]]],
) -> dict[tuple[str, str], tuple[bool, int, int]]:
    """Whether held directly, fewest groups between, number of paths."""
    return {
        key: (min(map(len, trails)) == 2, min(map(len, trails)) - 2, len(trails))
        for key, trails in held.items()
    }


def compare_paths(answer: Any, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    assert answer["truncated"] is False
    said = []
    for path in answer["paths"]:
        for before, step in itertools.pairwise(path):
            assert before["to"]["id"] == step["from"]["id"], "a path is a chain"
        eligible = any(step["state"] == "eligible" for step in path)
        nodes = (path[0]["from"]["id"], *(step["to"]["id"] for step in path[:-1]))
        said.append(("eligible" if eligible else "active", nodes))
    assert sorted(said) == sorted((state_, trail[:-1]) for state_, trail in expected)
    assert [len(path) for path in answer["paths"]] == sorted(len(p) for p in answer["paths"])


def admin_of(demo: Demo) -> str:
    [role] = [r["id"] for r in demo.truth.roles.values() if r["displayName"] == ADMIN]
    return f"role:{role}@/"


def reader_of(demo: Demo) -> str:
    [app] = [
        row
        for row in demo.truth.objects["service_principals"]
        if row["displayName"] == DEMO_APPLICATION_NAME
    ]
    [role] = [role["id"] for role in app["appRoles"] if role["displayName"] == "Reader"]
    return f"app:{app['id']}:{role}"


def test_who_is_or_can_become_global_administrator(demo: Demo) -> None:
    expected = demo.truth.holders(admin_of(demo))
    assert {state_ for _, state_ in expected} == {"active", "eligible"}
    assert any(len(trail) > 2 for trails in expected.values() for trail in trails)
    compare_holders(demo, demo.answer("who-can", ADMIN), expected)


def test_what_the_named_user_can_reach(demo: Demo) -> None:
    answer = demo.answer("access", DEMO_USER_UPN)
    expected = demo.truth.held(demo.truth.user(DEMO_USER_UPN))
    assert len(expected) > 20
    said = {}
    for row in answer["entitlements"]:
        key = (row["entitlement_id"], row["state"])
        assert key not in said, f"{key} is listed twice"
        said[key] = (row["direct"], row["depth"], row["paths"])
    assert said == shape(expected)


def test_why_the_named_user_can_become_global_administrator(demo: Demo) -> None:
    expected = demo.truth.paths(demo.truth.user(DEMO_USER_UPN), admin_of(demo))
    assert expected
    compare_paths(demo.answer("explain", DEMO_USER_UPN, ADMIN), expected)


def test_who_gets_into_the_sensitive_application(demo: Demo) -> None:
    expected = demo.truth.holders(reader_of(demo))
    groups = {who for who, _ in expected if demo.truth.described(who)[0] == "group"}
    assert groups
    # A nested group's members do not get in.
    nested = {who for group in groups for who, above in _inside(demo, group) if above}
    assert nested - {who for who, _ in expected}
    compare_holders(demo, demo.answer("who-can", READER), expected)


def _inside(demo: Demo, group: str) -> Iterator[tuple[str, bool]]:
    """Members of the groups inside a group, and whether they are inside by a group."""
    members = demo.truth.naive.links["group_members"]
    for member in members.get(group, ()):
        yield member, False
        for below in members.get(member, ()):
            yield below, True


def test_by_which_paths_the_named_user_gets_in(demo: Demo) -> None:
    expected = demo.truth.paths(demo.truth.user(DEMO_USER_UPN), reader_of(demo))
    assert len(expected) > 1
    compare_paths(demo.answer("explain", DEMO_USER_UPN, READER), expected)


def moment(text: str) -> datetime:
    """A time of Graph's or of ours, to the microsecond."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


def test_which_powerful_applications_have_credentials_about_to_end(demo: Demo) -> None:
    truth = demo.truth
    soon = datetime.now(UTC) + timedelta(days=60)
    registrations = {row["appId"]: row for row in truth.objects["applications"]}
    expected = []
    for principal in truth.objects["service_principals"]:
        can = set()
        for entitlement, _ in truth.held(principal["id"]):
            name, tier = truth.meaning(entitlement)
            if tier == 0:
                can.add(re.sub(r"[^A-Za-z0-9._-]+", "-", name))
        if not can:
            continue
        registration = registrations.get(principal["appId"], {})
        for owner in (principal, registration):
            for kind, secrets in (
                ("password", owner.get("passwordCredentials") or ()),
                ("certificate", owner.get("keyCredentials") or ()),
            ):
                for secret in secrets:
                    ends = moment(secret["endDateTime"])
                    if ends < soon:
                        expected.append((principal["displayName"], frozenset(can), kind, ends))
    assert len(expected) > 2
    said = [
        (
            row["application"],
            frozenset(row["can"].split(", ")),
            row["credential"],
            moment(row["ends"]),
        )
        for row in demo.query("credentials")
    ]
    assert sorted(said, key=str) == sorted(set(expected), key=str)


def test_which_guests_have_access_to_what_is_privileged(demo: Demo) -> None:
    truth = demo.truth
    expected = []
    for user in truth.objects["users"]:
        if user.get("userType") != "Guest":
            continue
        held = {entitlement for entitlement, _ in truth.held(user["id"])}
        if not held:
            continue
        privileged = set()
        for entitlement in held:
            name, tier = truth.meaning(entitlement)
            if tier is not None and tier <= 1:
                assert entitlement.startswith("role:"), "the name below is a role's"
                assert entitlement.endswith("@/"), "the name below is of the whole tenant"
                privileged.add(name)
        _, name, enabled = truth.described(user["id"])
        expected.append((name, enabled, len(held), frozenset(privileged)))
    assert len(expected) > 50
    assert sum(1 for *_, privileged in expected if privileged) >= 1
    said = [
        (
            row["guest"],
            row["enabled"],
            row["entitlements"],
            frozenset((row["privileged"] or "").split(", ")) - {""},
        )
        for row in demo.query("'guest'")
    ]
    assert sorted(said, key=str) == sorted(expected, key=str)


def test_default_access_is_nobodys_in_particular(demo: Demo) -> None:
    """Applications that require no assignment are open to all users, who are not listed."""
    opened = [
        what
        for what, holds in demo.truth.naive.holds.items()
        if any(h.holder == EVERYONE for h in holds)
    ]
    assert opened
    assert all(what.endswith(ZERO) for what in opened)
    said = {row["entitlement_id"] for row in demo.answer("access", DEMO_USER_UPN)["entitlements"]}
    direct = {what for what, _ in demo.truth.held(demo.truth.user(DEMO_USER_UPN))}
    assert said & set(opened) == direct & set(opened)
