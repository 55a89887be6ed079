"""Distribution lists and mail-enabled security groups, changed through Exchange."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.lists import EXCHANGE, Lists
from tests.provisioning.program import Program


@pytest.fixture(scope="module")
def mailing() -> Iterator[Simulator]:
    with running(**EXCHANGE, back_sync=0) as simulator:
        yield simulator


@pytest.fixture
def program(mailing: Simulator, tmp_path: Path) -> Program:
    made = Program(mailing, tmp_path)
    made.env["ENTRA_EXCHANGE"] = "true"
    return made


def test_a_member_is_granted_and_revoked_without_knowing_of_exchange(
    program: Program, mailing: Simulator
) -> None:
    lists = Lists(mailing)
    group = lists.some()
    user = lists.stranger(group)
    key = program.asked("grant", user, f"group:{group}:member")
    shown = program("plan", key)
    assert f"+ add_exchange_member    {group}  {user}  tier 2" in shown.out
    program("approve", key, "--plan", shown.out.split("Hash: ")[1].split()[0])
    done = program.json("apply", "--wait")
    assert done["requests"] == [{"id": key, "state": "done"}]
    assert program.effects() == [("add_exchange_member", group, user)]
    (operation,) = program.json("show", key)["operations"]
    assert (operation["state"], operation["added"]) == ("verified", True)
    effect = mailing.effects()[-1]
    assert effect["request_id"] == operation["tries"][0]["client_request_id"]
    program.approved("revoke", user, f"group:{group}:member")
    program("apply", "--wait")
    assert program.effects()[1:] == [("remove_exchange_member", group, user)]
    assert program.json("verify-audit")["findings"] == []


def test_without_exchange_it_is_refused_and_the_remedy_is_told(
    program: Program, mailing: Simulator
) -> None:
    lists = Lists(mailing)
    group = lists.some()
    key = program.asked("grant", lists.stranger(group), f"group:{group}:member")
    refused = program("plan", key, code=1, ENTRA_EXCHANGE="false")
    said = " ".join((refused.out + refused.err).split())
    assert "managed by Exchange, which is not configured here: set ENTRA_EXCHANGE=true" in said
    assert "Exchange.ManageAsApp" in said
    assert "Exchange Administrator" in said
    assert program.effects() == []
