"""The ledger as tables beside those of access: SQL joins who asked with what it gave."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from entra_pipeline.access import needs
from entra_pipeline.lake import Lake
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.ledger.confirming import Confirming
from entra_pipeline.provisioning.ledger.export import to_lake
from entra_pipeline.provisioning.ledger.work import Outcome, Work
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import LEDGER
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, person, plan_of
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Program:
    return Program(written_to, tmp_path)


def asked(program: Program, sql: str) -> list[dict[str, Any]]:
    found = program.json("query", sql)
    assert found["complete"]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def test_a_sync_makes_the_ledger_tables_of_the_same_world(program: Program, tenant: Tenant) -> None:
    group = list(tenant.plain())[25]
    user = tenant.stranger(group)
    access = f"group:{group}:member"
    program("sync")
    assert asked(program, "SELECT * FROM requests") == []
    key = program.approved("grant", user, access)
    program("apply", "--wait")
    secret = program.asked(
        *("create-account", "--display-name", "Åsa Öberg", "--mail-nickname", "asa"),
        *("--user-principal-name", "asa.oberg@contoso.example"),
    )
    program("sync")
    (told,) = asked(
        program,
        """
        SELECT r.id, r.state, r.principal_id, a.approver_kind, o.action, o.state AS done, o.added,
               o.client_request_id, p.gained, p.is_known, g.state AS held
        FROM requests r
        JOIN plans p ON p.hash = r.plan_hash
        JOIN approvals a ON a.plan_hash = p.hash
        JOIN operations o ON o.request_id = r.id
        JOIN effective_grants g
          ON g.principal_id = r.principal_id AND g.entitlement_id = r.entitlement_id
        """,
    )
    attempt = program.json("show", key)["operations"][0]["tries"][0]["client_request_id"]
    assert told == {
        "id": key,
        "state": "done",
        "principal_id": user,
        "approver_kind": "os_user",
        "action": "add_group_member",
        "done": "verified",
        "added": True,
        "client_request_id": attempt,
        "gained": told["gained"],
        "is_known": True,
        "held": "active",
    }
    assert told["gained"] >= 1
    states = asked(program, "SELECT id, kind, state, principal_id FROM requests ORDER BY filed_at")
    assert states[1] == {
        "id": secret,
        "kind": "create_user",
        "state": "filed",
        "principal_id": None,
    }
    head = re.search(r'"head": "(\d+):', program("verify-audit", "--json").out)
    entries = asked(program, "SELECT count(*) AS number, max(seq) AS last FROM audit")
    assert entries[0]["number"] == entries[0]["last"]
    assert head is None or int(head[1]) == entries[0]["last"]
    # What a version more says is kept in the history too.
    program("sync")
    # Names, reasons and notes stay in the ledger.
    with duckdb.connect(str((program.data / "warehouse.duckdb").resolve()), read_only=True) as read:
        for name in LEDGER:
            rows = str(read.execute(f"SELECT * FROM {name}").fetchall())
            assert not re.search("oberg|Öberg|ticket|asa", rows)
    # The lake has them as well, with their history.
    lake = Lake(program.data / "lake", LEDGER)
    assert {row["id"] for row in lake.read("requests").to_pylist()} == {key, secret}
    program("verify")


def test_what_changed_is_read_alone_and_makes_the_same_tables(
    ledger: Ledger, clock: Clock, tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "lake", LEDGER)
    work, confirming = Work(ledger, "one"), Confirming(ledger)

    def exported(to: Lake) -> dict[str, Any]:
        to_lake(ledger, to, sync_id="sync", as_of=clock())
        clock.advance(seconds=1)
        return {name: to.read(name).to_pylist() for name in LEDGER}

    def like_new() -> None:
        found = exported(lake)
        assert found == exported(Lake(tmp_path / f"new{clock.now}", LEDGER))

    def approved(*users: int) -> None:
        filed = ledger.file([grant(user) for user in users])
        ledger.save_plan(filed[0].batch_id, plan_of(filed))
        like_new()
        ledger.approve(plan_of(filed).hash, person(7))

    like_new()  # nothing yet
    approved(1)
    like_new()
    for outcome in (Outcome(OperationState.AMBIGUOUS), Outcome(OperationState.RETRYABLE)):
        (claim,) = work.claim(1)
        attempts = work.begin(claim.steps) if outcome.state is OperationState.AMBIGUOUS else {}
        like_new()
        work.end({claim.steps[0].id: outcome}, attempts)
        work.postpone(claim.filed.id, clock())
        like_new()
    approved(2, 3)
    claims = work.claim(9)
    steps = [step for claim in claims for step in claim.steps]
    attempts = work.begin(steps)
    like_new()
    second = timedelta(seconds=1)
    written = {step.id: Outcome(OperationState.WRITTEN, added=True) for step in steps}
    work.end(written, attempts, verify_in=timedelta(0), verify_for=second)
    for claim in claims:
        work.settle(claim.filed.id, RequestState.WRITTEN)
    confirming.verified({step.id: (True, None) for step in steps}, needed=1, every=second)
    like_new()
    before = lake.read("operations").to_pylist()
    assert {row["attempts"] for row in before} == {1, 2}
    assert {row["state"] for row in before} == {"verified"}
    # Nothing new: nothing but what is new is read.
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE requests SET kind = 'unseen'"))
    assert {row["kind"] for row in exported(lake)["requests"]} == {"grant"}
    # Put back to an earlier state, or another ledger: everything is read.
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE audit SET hash = 'x' WHERE seq > 9"))
        connection.execute(sa.text("UPDATE ledger SET audit_hash = 'x'"))
    assert {row["kind"] for row in exported(lake)["requests"]} == {"unseen"}


def test_what_is_said_of_completeness_knows_every_table_of_the_ledger() -> None:
    assert needs.of_stored(LEDGER, ["users"]) == []
