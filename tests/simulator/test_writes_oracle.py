"""Effects are neither too many nor too few: replayed on the start, they give the end."""

import random
from typing import Any

import pytest
import requests

from entra_pipeline.simulator.process import running
from tests.simulator.writing import Writing

LOSING = [
    {"match": {"method": "POST", "probability": 0.1}, "reset": True},
    {"match": {"effect": True, "probability": 0.2}, "when": "after", "reset": True},
    {
        "match": {"method": "DELETE", "probability": 0.1},
        "when": "after",
        "respond": {"status": 503, "body": {"error": {"code": "serviceNotAvailable"}}},
    },
]


class Everything:
    """Random writes: many refused, many repeated, many with their answers lost."""

    def __init__(self, client: Writing, seed: int) -> None:
        self.client = client
        self.rng = random.Random(seed)
        truth = client.simulator.truth
        self.groups = self.rng.sample([row["id"] for row in truth("groups")], 12)
        self.users = self.rng.sample([row["id"] for row in truth("users")], 8)
        self.roles = self.rng.sample([row["id"] for row in truth("role_definitions")], 3)

    def one(self) -> dict[str, Any]:
        """A request as an item of a batch."""
        rng = self.rng
        group, user = rng.choice(self.groups), rng.choice(self.users)
        kind = rng.choice(("members", "members", "owners"))
        choice = rng.randrange(10)
        if choice < 4:
            return self.item("POST", f"/groups/{group}/{kind}/$ref", self.client.ref(user))
        if choice < 7:
            return self.item("DELETE", f"/groups/{group}/{kind}/{user}/$ref")
        if choice < 9:
            chosen = rng.sample(self.users, rng.randrange(1, 4))
            bind = {f"{kind}@odata.bind": [self.client.link(each) for each in chosen]}
            return self.item("PATCH", f"/groups/{group}", bind)
        body = {
            "principalId": user,
            "roleDefinitionId": rng.choice(self.roles),
            "directoryScopeId": "/",
        }
        return self.item("POST", "/roleManagement/directory/roleAssignments", body)

    def item(self, method: str, url: str, body: Any = None) -> dict[str, Any]:
        more = {"body": body, "headers": {"Content-Type": "application/json"}} if body else {}
        return {"id": str(self.rng.getrandbits(40)), "method": method, "url": url, **more}

    def send(self) -> None:
        """A single request, or a batch of some."""
        try:
            if self.rng.random() < 0.5:
                each = self.one()
                self.client.send(each["method"], each["url"], each.get("body"))
            else:
                self.client.send("POST", "/$batch", {"requests": [self.one() for _ in range(5)]})
        except requests.ConnectionError:
            pass


Links = dict[str, set[str]]


def links(client: Writing, name: str) -> Links:
    return {source: set(held) for source, held in client.simulator.truth(name).items()}


def held_roles(client: Writing) -> set[tuple[str, str]]:
    rows = client.simulator.truth("role_assignments")
    return {(row["roleDefinitionId"], row["principalId"]) for row in rows}


@pytest.mark.parametrize("seed", [1, 2])
def test_effects_replayed_on_the_start_give_the_end(seed: int) -> None:
    with running(users=60, groups=40, seed=seed, writer=True, stale_reads=0.05) as simulator:
        client = Writing(simulator)
        members, owners = links(client, "group_members"), links(client, "group_owners")
        roles = held_roles(client)
        everything = Everything(client, seed)
        simulator.faults(LOSING)
        for _ in range(120):
            everything.send()
        assert all(each["fired"] for each in simulator.stats()["faults"])
        simulator.faults([])
        effects = simulator.effects()
        assert [each["seq"] for each in effects] == list(range(1, len(effects) + 1))
        for each in effects:
            held = owners if each["kind"].endswith("owner") else members
            if each["kind"].startswith("add_group"):
                there = held.setdefault(each["target"], set())
                assert each["principal"] not in there
                there.add(each["principal"])
            elif each["kind"].startswith("remove_group"):
                held[each["target"]].remove(each["principal"])
            else:
                assert each["kind"] == "assign_role"
                roles.add((each["target"], each["principal"]))
        kinds = {each["kind"] for each in effects}
        assert len(kinds) == 5
        present = [
            {key: value for key, value in each.items() if value} for each in (members, owners)
        ]
        assert present == [links(client, "group_members"), links(client, "group_owners")]
        assert roles == held_roles(client)
