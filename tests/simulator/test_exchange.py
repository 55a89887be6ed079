"""InvokeCommand as Exchange's administration speaks it: commands, refusals, pages, redirects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.simulator.tenant import dump
from tests.simulator.conftest import guid
from tests.simulator.writing import (
    ADA,
    BOB,
    CONTACT,
    EVE,
    LIST,
    NOBODY,
    ON_PREMISES,
    STAFF,
    TEAM,
    tenant,
)

RESOURCE = "https://outlook.office365.com"
EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"
GLOBAL_READER = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
SECURE, BIG = guid(301), guid(302)
BYPASS = {"BypassSecurityGroupManagerCheck": True}


class Commands:
    """Commands of one application."""

    def __init__(self, simulator: Simulator, *, writer: bool = True) -> None:
        self.simulator = simulator
        self.info = simulator.info
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = simulator.info.ca_file
        token = simulator.token(writer=writer, resource=RESOURCE)
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.url = f"{self.info.http_graph_url}/adminapi/beta/{self.info.tenant_id}/InvokeCommand"

    def send(
        self, name: str, url: str | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> requests.Response:
        body = {"CmdletInput": {"CmdletName": name, "Parameters": more}}
        return self.session.post(
            url or self.url, json=body, headers=headers, timeout=30, allow_redirects=False
        )

    def rows(self, name: str, **more: Any) -> list[dict[str, Any]]:
        answer = self.send(name, **more)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["value"]
        return found

    def refused(self, name: str, **more: Any) -> tuple[int, str]:
        """Status and exception of a command that must fail and change nothing."""
        before = len(self.simulator.effects())
        answer = self.send(name, **more)
        assert answer.status_code >= 400, answer.text
        assert len(self.simulator.effects()) == before
        (detail,) = answer.json()["error"]["details"]
        return answer.status_code, detail["message"].split("|")[1].rpartition(".")[2]

    def members(self, group: str) -> set[str]:
        rows = self.rows("Get-DistributionGroupMember", Identity=group, ResultSize="Unlimited")
        return {row["ExternalDirectoryObjectId"] for row in rows}

    def managers(self, group: str) -> list[str]:
        (row,) = self.rows("Get-DistributionGroup", Identity=group)
        found: list[str] = row["ManagedBy"]
        return found

    def graph_members(self, group: str) -> set[str]:
        answer = requests.get(
            f"{self.info.http_graph_url}/v1.0/groups/{group}/members",
            headers={"Authorization": f"Bearer {self.simulator.token()}"},
            timeout=30,
        )
        return {row["id"] for row in answer.json()["value"]}

    def news(self, after: int) -> list[tuple[str, str, str | None]]:
        rows = self.simulator.effects(after)
        return [(row["kind"], row["target"], row["principal"]) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, path = tenant(), tmp_path_factory.mktemp("tenant")
    mail = {"mailEnabled": True, "groupTypes": [], "mail": None, "mailNickname": None}
    for key, name, secure in ((SECURE, "secure", True), (BIG, "big", False)):
        made.objects["groups"][key] = {
            **made.objects["groups"][LIST],
            **mail,
            "id": key,
            "displayName": name,
            "mail": f"{name}@writing.example",
            "securityEnabled": secure,
        }
    made.objects["groups"][ON_PREMISES]["mailEnabled"] = True
    many = [guid(10_000 + number) for number in range(2_300)]
    for key in many:
        made.objects["users"][key] = {
            "id": key,
            "displayName": key[-5:],
            "mail": f"u{key[-5:]}@writing.example",
            "userPrincipalName": f"u{key[-5:]}@writing.example",
        }
    made.links["group_members"][BIG] = many
    made.links["group_members"][LIST] = [ADA, BOB]
    made.links["group_owners"][LIST] = [ADA]
    for role, name in (
        (EXCHANGE_ADMINISTRATOR, "Exchange Administrator"),
        (GLOBAL_READER, "Global Reader"),
    ):
        made.objects["role_definitions"][role] = {
            **next(iter(made.objects["role_definitions"].values())),
            "id": role,
            "templateId": role,
            "displayName": name,
        }
    dump(made, path)
    return path


@pytest.fixture
def simulator(folder: Path) -> Iterator[Simulator]:
    with running(
        tenant=folder,
        writer=True,
        writer_roles=("Exchange Administrator",),
        client_roles=("Global Reader",),
    ) as opened:
        yield opened


@pytest.fixture
def commands(simulator: Simulator) -> Commands:
    return Commands(simulator)


def test_members_come_and_go_and_graph_learns_of_it_after_a_while(commands: Commands) -> None:
    add, remove = "Add-DistributionGroupMember", "Remove-DistributionGroupMember"
    assert commands.rows(add, Identity=LIST, Member=EVE, **BYPASS) == []
    assert commands.members(LIST) == {ADA, BOB, EVE}
    assert commands.graph_members(LIST) == {ADA, BOB}
    commands.simulator.advance(61)
    assert commands.graph_members(LIST) == {ADA, BOB, EVE}
    # By address, in any case; a contact can be in a list.
    commands.rows(add, Identity="LIST", Member="contact@ELSE.example", **BYPASS)
    commands.rows(remove, Identity=LIST, Member="ada@writing.example", Confirm=False, **BYPASS)
    assert commands.members(LIST) == {BOB, EVE, CONTACT}
    assert commands.news(0) == [
        ("add_exchange_member", LIST, EVE),
        ("add_exchange_member", LIST, CONTACT),
        ("remove_exchange_member", LIST, ADA),
    ]
    assert commands.simulator.stats()["by_route"][f"POST /adminapi/InvokeCommand {remove}"] == 1


def test_reads_are_behind_for_as_long_as_graphs_are(commands: Commands) -> None:
    # What was written before reads fell behind is known, also while Graph has yet to learn of it.
    commands.rows("Add-DistributionGroupMember", Identity=LIST, Member=CONTACT, **BYPASS)
    commands.simulator.stale_reads(300)
    commands.rows("Add-DistributionGroupMember", Identity=LIST, Member=EVE, **BYPASS)
    table = {"@odata.type": "#Exchange.GenericHashTable", "Add": [BOB]}
    commands.rows("Set-DistributionGroup", Identity=LIST, ManagedBy=table, **BYPASS)
    before = commands.managers(LIST)
    assert commands.members(LIST) == {ADA, BOB, CONTACT}
    # What is so already is known at once all the same.
    assert commands.refused("Add-DistributionGroupMember", Identity=LIST, Member=EVE, **BYPASS) == (
        400,
        "MemberAlreadyExistsException",
    )
    commands.simulator.advance(301)
    assert commands.members(LIST) == {ADA, BOB, CONTACT, EVE}
    assert len(commands.managers(LIST)) == len(before) + 1


def test_refusals_are_exchanges_own(commands: Commands) -> None:
    add, remove = "Add-DistributionGroupMember", "Remove-DistributionGroupMember"
    for name, more, status, cls in (
        (add, {"Identity": LIST, "Member": BOB}, 400, "MemberAlreadyExistsException"),
        (remove, {"Identity": LIST, "Member": EVE}, 400, "MemberNotFoundException"),
        (add, {"Identity": LIST, "Member": NOBODY}, 404, "ManagementObjectNotFoundException"),
        (add, {"Identity": NOBODY, "Member": BOB}, 404, "ManagementObjectNotFoundException"),
        (add, {"Identity": STAFF, "Member": BOB}, 404, "ManagementObjectNotFoundException"),
        (add, {"Identity": TEAM, "Member": BOB}, 400, "RecipientTaskException"),
        (add, {"Identity": LIST, "Member": TEAM}, 404, "ManagementObjectNotFoundException"),
        (add, {"Identity": ON_PREMISES, "Member": BOB}, 400, "RecipientTaskException"),
        (add, {"Identity": None, "Member": BOB}, 400, "ParameterBindingException"),
        (add, {"Identity": LIST, "Mamber": BOB}, 400, "ParameterBindingException"),
        ("Remove-Mailbox", {"Identity": BOB}, 404, "CommandNotFoundException"),
    ):
        more = more if name == "Remove-Mailbox" else {**more, **BYPASS}
        assert commands.refused(name, **more) == (status, cls), (name, more)
    # Whoever does not manage the list has to say that this is known.
    assert commands.refused(add, Identity=LIST, Member=EVE) == (
        400,
        "OperationRequiresGroupManagerException",
    )


def test_managers_are_added_taken_and_overwritten_but_never_all_gone(commands: Commands) -> None:
    def managed(value: Any) -> requests.Response:
        return commands.send("Set-DistributionGroup", Identity=LIST, ManagedBy=value, **BYPASS)

    table = {"@odata.type": "#Exchange.GenericHashTable"}
    assert managed({**table, "Add": [BOB, SECURE]}).status_code == 200
    assert managed({**table, "add": [BOB]}).json()["@adminapi.warnings"]  # so already
    assert managed({**table, "Remove": [ADA], "Add": []}).status_code == 200
    assert commands.news(0) == [
        ("add_exchange_owner", LIST, BOB),
        ("add_exchange_owner", LIST, SECURE),
        ("remove_exchange_owner", LIST, ADA),
    ]
    assert managed([EVE]).status_code == 200
    assert commands.news(3) == [
        ("remove_exchange_owner", LIST, BOB),
        ("remove_exchange_owner", LIST, SECURE),
        ("add_exchange_owner", LIST, EVE),
    ]
    assert managed({**table, "Remove": [EVE]}).status_code == 400
    assert managed({**table, "Add": [CONTACT]}).status_code == 404
    assert managed({**table, "Add": [BIG]}).status_code == 400
    assert managed({"Add": [ADA]}).status_code == 400
    named = commands.rows(
        "Get-DistributionGroup", Identity=LIST, IncludeManagedByWithDisplayNames=True
    )[0]
    assert named["ManagedByWithDisplayNames"] == ["eve@writing.example;Eve"]
    assert commands.graph_members(LIST) == {ADA, BOB}


def test_pages_go_on_by_sending_the_same_body_again(commands: Commands) -> None:
    name, more = "Get-DistributionGroupMember", {"Identity": BIG, "ResultSize": "Unlimited"}
    answer = commands.send(name, **more)
    pages = [answer.json()]
    while link := pages[-1].get("@odata.nextLink"):
        assert commands.send(name, url=link, Identity=LIST).status_code == 400
        pages.append(commands.send(name, url=link, **more).json())
    assert [len(page["value"]) for page in pages] == [1000, 1000, 300]
    ids = {row["ExternalDirectoryObjectId"] for page in pages for row in page["value"]}
    assert len(ids) == 2_300
    few = {"Prefer": "odata.maxpagesize=7"}
    small = commands.send(name, headers=few, url=f"{commands.url}?$select=Name", **more).json()
    assert [len(small["value"]), set(small["value"][0])] == [7, {"Name"}]
    # Without being asked for all, a thousand, and a warning.
    short = commands.send(name, Identity=BIG).json()
    assert len(short["value"]) == 1000
    assert "@odata.nextLink" not in short
    assert "more results" in short["@adminapi.warnings"][0]


def test_without_an_identity_everything_comes_back(commands: Commands) -> None:
    rows = commands.rows("Get-DistributionGroup", Identity=None)
    assert {LIST, SECURE, BIG} <= {row["ExternalDirectoryObjectId"] for row in rows}
    assert len(commands.rows("Get-DistributionGroupMember")) == 1000


def test_the_front_door_sends_to_the_tenants_own_place(folder: Path) -> None:
    with running(
        tenant=folder, writer=True, writer_roles=("Exchange Administrator",), exchange_redirect=True
    ) as simulator:
        commands = Commands(simulator)
        answer = commands.send("Get-DistributionGroup", Identity=LIST)
        assert (answer.status_code, answer.content) == (302, b"")
        there = answer.headers["Location"]
        assert "//127.0.0.1:" in there
        found = commands.send("Get-DistributionGroup", url=there, Identity=LIST).json()["value"]
        assert [row["ExternalDirectoryObjectId"] for row in found] == [LIST]


def test_a_token_a_permission_and_a_role_are_needed(simulator: Simulator, folder: Path) -> None:
    reader = Commands(simulator, writer=False)
    assert reader.members(LIST) == {ADA, BOB}
    more = {"Identity": LIST, "Member": EVE, **BYPASS}
    assert reader.refused("Add-DistributionGroupMember", **more) == (
        404,
        "CommandNotFoundException",
    )
    graph = Commands(simulator)
    graph.session.headers["Authorization"] = f"Bearer {simulator.token(writer=True)}"
    assert graph.send("Get-DistributionGroup", Identity=LIST).status_code == 401
    with running(
        tenant=folder, writer=True, without_permission=("Exchange.ManageAsApp",)
    ) as without:
        assert Commands(without).send("Get-DistributionGroup").status_code == 403
        assert Commands(without, writer=False).send("Get-DistributionGroup").status_code == 401


def test_a_provisioning_job_is_started_and_counted(folder: Path) -> None:
    with running(users=60, groups=20, seed=11, writer=True) as simulator:
        job = next(
            each
            for each in simulator.truth("synchronization_jobs")
            if each["status"]["code"] == "Active"
        )
        base = f"{simulator.info.http_graph_url}/v1.0/servicePrincipals/{job['servicePrincipalId']}"
        url = f"{base}/synchronization/jobs/{job['id']}/start"
        mine = {"Authorization": f"Bearer {simulator.token(writer=True)}"}
        assert requests.post(url, headers=mine, timeout=30).status_code == 204
        (effect,) = simulator.effects()
        assert (effect["kind"], effect["target"], effect["details"]) == (
            "start_synchronization_job",
            job["servicePrincipalId"],
            {"job": job["id"]},
        )
        theirs = {"Authorization": f"Bearer {simulator.token()}"}
        assert requests.post(url, headers=theirs, timeout=30).status_code == 403
        assert requests.post(url[:-8] + "x/start", headers=mine, timeout=30).status_code == 404
        assert len(simulator.effects()) == 1


def test_lists_are_found_by_who_manages_them(commands: Commands) -> None:
    found = commands.rows("Get-DistributionGroup", ManagedBy=ADA, ResultSize="Unlimited")
    assert [row["ExternalDirectoryObjectId"] for row in found] == [LIST]
    assert commands.rows("Get-DistributionGroup", ManagedBy=EVE) == []
    status, kind = commands.refused("Get-DistributionGroup", ManagedBy=NOBODY)
    assert (status, kind) == (404, "ManagementObjectNotFoundException")
