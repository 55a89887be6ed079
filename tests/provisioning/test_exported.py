"""The ledger as tables beside those of access: SQL joins who asked with what it gave."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from entra_pipeline.access import needs
from entra_pipeline.lake import Lake
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import LEDGER
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


def test_what_is_said_of_completeness_knows_every_table_of_the_ledger() -> None:
    assert needs.of_stored(LEDGER, ["users"]) == []
