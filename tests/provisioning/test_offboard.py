"""Offboarding: one plan of everything that somebody holds, each piece taken just once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.simulator.process import Simulator, running
from tests.cli.program import environment
from tests.provisioning.leaver import Leaver
from tests.provisioning.program import Program
from tests.provisioning.test_effects import everything, told

LEAVING = """\
version: 1
os_user_approves: true
separate: {requester: false, beneficiary: false}
approvals: {control: 1, sensitive: 1, ordinary: 1}
offboard: {}
"""
# Kinds of effects that are not about access: what else an offboarding does to the account.
ACCOUNT = ["update_user", "revoke_sessions", "delete_method"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running(
        users=150,
        groups=60,
        seed=23,
        writer=True,
        writer_roles=("Privileged Authentication Administrator", "Exchange Administrator"),
        client_roles=("Global Reader",),
        back_sync=0,
    ) as found:
        yield found


@pytest.fixture
def program(simulator: Simulator, tmp_path: Path) -> Program:
    made = Program(simulator, tmp_path)
    made.policy(LEAVING)
    made.env["ENTRA_EXCHANGE"] = "true"
    return made


def offboarded(program: Program, user: str, *more: str) -> str:
    asking = ("offboard", "--principal", user, *more)
    found: str = program.json("request", *asking, "--reason", "left")["requests"][0]["id"]
    return found


def effects(program: Program, seen: int) -> list[dict[str, Any]]:
    """What was changed since then, as it is told, without what differs each time."""
    found = program.simulator.effects(seen)
    return [{k: each[k] for k in ("kind", "target", "principal", "details")} for each in found]


def killed(program: Program, seen: int, after: int) -> int:
    """`apply` in a process of its own, killed once so much was changed; how much it was then."""
    simulator = program.simulator
    # The answer comes late, so that it dies between a write and hearing of it.
    simulator.faults([{"match": {"effect": True}, "when": "after", "delay_ms": 120}])
    process = subprocess.Popen(
        [sys.executable, "-m", "entra_pipeline.cli", "apply", "--wait"],
        env=environment(**program.env),
        cwd=program.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while len(simulator.effects(seen)) < after and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.wait()
        simulator.faults([])
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.3)  # until the tenant is done with it too
    with Provisioning(program.settings()) as opened, opened.ledger.database.write() as ledger:
        # As if five minutes had passed.
        ledger.execute(schema.requests.update().values(claimed_until=1))
    return len(simulator.effects(seen))


def leaves(program: Program, ledger: str | Path, place: int, number: int) -> None:
    """Somebody with so many things is offboarded, killed in the middle, resumed, and synced."""
    if isinstance(ledger, str):
        program.env["ENTRA_LEDGER_URL"] = ledger
    simulator = program.simulator
    leaver = Leaver(simulator, place, manager=place + 1, exchange=True)
    assert leaver.give(number) == number
    before = everything(program)
    seen = len(simulator.effects())
    key = offboarded(program, leaver.id)
    plan = program.json("plan", key)["plan"]
    steps = plan["operations"]
    assert len(steps) >= number + 3
    assert [each["action"] for each in steps[:3]] == [
        "update_user",
        "revoke_sessions",
        "remove_methods",
    ]
    assert len({each["identity"] for each in steps}) == len(steps)
    by_action = Counter(each["action"] for each in steps if not each["already"])
    assert by_action["remove_exchange_member"] > 0
    assert by_action["add_exchange_owner"] > 0
    assert by_action["remove_exchange_owner"] > 0
    heirs = [each["identity"] for each in steps if each["principal_id"] == leaver.manager]
    assert heirs == [f"direct:{leaver.manager}:{each}" for each in heir_order(steps, leaver)]
    assert sorted(leaver.last_owned) == sorted(each.partition(":")[2][37:] for each in heirs)
    program("approve", key, "--plan", plan["hash"])
    done = killed(program, seen, after=len(steps) // 2)
    assert 0 < done < len(steps)
    rounds = 0
    while program.json("show", key)["request"]["state"] in ("approved", "running"):
        program("apply", "--wait")
        rounds += 1
        assert rounds < 4
    shown = program.json("show", key)
    assert shown["request"]["state"] == "done", shown["request"]["reasons"]
    assert {each["state"] for each in shown["operations"]} == {"verified"}
    made = effects(program, seen)
    counted = Counter(json.dumps(each, sort_keys=True) for each in made)
    assert set(counted.values()) == {1}, counted.most_common(3)
    kinds = Counter(each["kind"] for each in made)
    methods = kinds.pop("delete_method", 0)
    assert methods == sum(e["kind"] == "delete_method" for e in made)
    changing = [each for each in steps if not each["already"]]
    assert kinds.total() == len([e for e in changing if e["action"] != "remove_methods"])
    assert [each["kind"] for each in made[:2]] == ["update_user", "revoke_sessions"]
    now = everything(program)
    delta = plan["delta"]
    assert told(delta["lost"]) == before - now
    assert told(delta["gained"]) == now - before
    left = {row for row in now if row[0] == leaver.id}
    assert told(delta["remains"]) == left
    direct = [each for each in delta["remains"] if len(each["through"]) == 1]
    assert [each for each in direct if not each.get("why")] == []
    assert program.json("verify-audit")["findings"] == []
    # What is left is not to be taken by asking again.
    again = program.json("plan", offboarded(program, leaver.id))["plan"]
    assert [e["action"] for e in again["operations"] if not e["already"]] == ["revoke_sessions"]


def heir_order(steps: list[dict[str, Any]], leaver: Leaver) -> list[str]:
    """What the heir gets, in the plan's order: all of it before the leaver loses any."""
    first_loss = next(
        place
        for place, each in enumerate(steps[3:])
        if each["principal_id"] == leaver.id and each["action"] != "remove_methods"
    )
    found = [each["identity"].partition(":")[2][37:] for each in steps[3 : 3 + first_loss]]
    assert set(found) == set(leaver.last_owned)
    return found


def test_a_leaver_killed_in_the_middle_loses_everything_once_as_foretold(
    program: Program, ledger_url: str | Path
) -> None:
    leaves(program, ledger_url, place=2 if isinstance(ledger_url, Path) else 4, number=20)


@pytest.mark.soak
@pytest.mark.parametrize("place", [6, 8])
def test_a_leaver_with_sixty_grants_killed_in_the_middle(
    program: Program, ledger_url: str | Path, place: int
) -> None:
    leaves(program, ledger_url, place + (isinstance(ledger_url, str)) * 4, number=60)
