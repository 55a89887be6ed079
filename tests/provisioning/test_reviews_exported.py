"""Reviews of emergency access in SQL: which nobody has looked at, and who closed the others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from entra_pipeline.lake import Lake
from entra_pipeline.provisioning.identities import os_user
from entra_pipeline.provisioning.ledger import Ledger, reviewing
from entra_pipeline.provisioning.ledger.export import to_lake
from entra_pipeline.provisioning.ledger.reviewing import Finding
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.provisioning.values import Identity, IdentityKind
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import LEDGER
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, person, plan_of
from tests.provisioning.program import ALONE, Program
from tests.provisioning.tenant import Tenant

RULE = "emergency: {{who: ['{}'], kinds: [group], longest: 4h}}\n"
NEVER_REVIEWED = """
    SELECT r.id, r.principal_id, r.entitlement_id, r.asked_by_kind, v.opened_at, v.closed_at,
           v.closed_by, v.finding
    FROM reviews v JOIN requests r ON r.id = v.request_id WHERE v.closed_at IS NULL
"""


def asked(program: Program, sql: str) -> list[dict[str, Any]]:
    found = program.json("query", sql)
    assert found["complete"]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def test_sql_tells_which_emergency_access_nobody_has_looked_at_and_who_closed_the_rest(
    written_to: Simulator, tmp_path: Path
) -> None:
    program, tenant = Program(written_to, tmp_path), Tenant(written_to)
    program.policy(f"{ALONE}{RULE.format(os_user().key)}")
    group = list(tenant.plain())[16]
    users = [user for user in tenant.users if user not in tenant.members.get(group, ())][:2]
    access = f"group:{group}:member"
    keys = []
    for user in users:
        keys.append(program.asked("grant", user, access, "--emergency"))
        program("plan", keys[-1])
    program("sync", "--only", "groups")
    waiting = asked(program, f"{NEVER_REVIEWED} ORDER BY r.id")
    assert [(row["id"], row["principal_id"]) for row in waiting] == list(
        zip(keys, users, strict=True)
    )
    assert {(row["entitlement_id"], row["asked_by_kind"]) for row in waiting} == {
        (access, "os_user")
    }
    with Provisioning(program.settings()) as opened:
        opened.close_review(keys[0], Finding.NOT_JUSTIFIED, person(9), "ask Åsa the next time")
        closed_at = reviewing.one(opened.ledger, keys[0]).closed_at
    program("sync", "--only", "groups")
    assert [row["id"] for row in asked(program, NEVER_REVIEWED)] == [keys[1]]
    (closed,) = asked(program, "SELECT * FROM reviews WHERE closed_at IS NOT NULL")
    assert (closed["request_id"], closed["finding"]) == (keys[0], "not_justified")
    assert (closed["closed_by_kind"], closed["closed_by"]) == ("entra", person(9).subject)
    rows = Lake(program.data / "lake", LEDGER).read("reviews").to_pylist()
    assert {row["request_id"]: row["closed_at"] for row in rows} == {
        keys[0]: closed_at,
        keys[1]: None,
    }
    # The reason may name people.
    assert "Åsa" not in str(rows)


def test_a_review_that_opens_or_closes_is_read_alone_and_makes_the_same_table(
    ledger: Ledger, clock: Clock, tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "lake", LEDGER)

    def like_new() -> list[dict[str, Any]]:
        found = []
        for to in (lake, Lake(tmp_path / f"new{clock.now}", LEDGER)):
            to_lake(ledger, to, sync_id="sync", as_of=clock())
            clock.advance(seconds=1)
            found.append(to.read("reviews").to_pylist())
        assert found[0] == found[1]
        return found[0]

    assert like_new() == []
    end = clock() + timedelta(hours=2)
    filed = ledger.file([grant(user, emergency=True, expires_at=end) for user in (1, 2)])
    assert like_new() == []
    plan = plan_of(filed)
    ledger.save_plan(filed[0].batch_id, plan.model_copy(update={"approvals_needed": 0}))
    assert [row["closed_at"] for row in like_new()] == [None, None]
    machine = Identity(kind=IdentityKind.OS_USER, subject="anna", machine="ward7")
    reviewing.close(ledger, filed[1].id, Finding.JUSTIFIED, machine, "agreed")
    rows = {row["request_id"]: row for row in like_new()}
    assert rows[filed[0].id]["closed_by_kind"] is None
    # Names of a machine's users stay in the ledger.
    assert (rows[filed[1].id]["closed_by_kind"], rows[filed[1].id]["closed_by"]) == (
        "os_user",
        None,
    )
