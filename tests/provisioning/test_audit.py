"""Whatever is done to the ledger behind its back is named."""

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import Head, Ledger, head, schema, verify
from entra_pipeline.provisioning.ledger.writing import entry_hash
from tests.provisioning.making import grant, person, plan_of

Planted = Callable[[sa.Connection, dict[str, str]], str]


@pytest.fixture
def told(ledger: Ledger) -> dict[str, str]:
    """A ledger with a life; ids of some rows of it."""
    filed = ledger.file([grant(number) for number in range(4)])
    plan = plan_of(filed)
    ledger.save_plan(filed[0].batch_id, plan)
    ledger.approve(plan.hash, person(2), "as agreed")
    other = ledger.file([grant(9)])
    ledger.cancel(other[0].id, person())
    approval = ledger.approvals(plan.hash)[0].id
    return {"request": filed[1].id, "plan": plan.hash, "approval": approval}


def test_what_nobody_touched_holds(ledger: Ledger, told: dict[str, str]) -> None:
    report = verify(ledger.database, head(ledger.database))
    assert report.findings == ()
    assert report.head == Head(report.entries, report.head.hash)
    # 5 requests, 1 plan with 4 operations, 1 approval
    assert (report.rows, report.entries) == (11, 5 + 5 + 4 + 1 + 4 + 1)


def change_reason(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(
        sa.text("UPDATE requests SET document = replace(document, 'ward', 'wart') WHERE id = :id"),
        {"id": told["request"]},
    )
    return f"requests/{told['request']}: was changed since entry"


def change_state(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(
        sa.text("UPDATE requests SET state = 'done' WHERE id = :id"), {"id": told["request"]}
    )
    return f"requests/{told['request']}: was changed since entry"


def change_approver(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("UPDATE approvals SET subject = 'me'"))
    return f"approvals/{told['approval']}: was changed since entry"


def plant_approval(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(
        sa.text(
            "INSERT INTO approvals (id, plan_hash, verdict, identity_kind, subject, at)"
            " VALUES ('appr_planted', :plan, 'approve', 'entra', 'me', 1)"
        ),
        {"plan": told["plan"]},
    )
    return "approvals/appr_planted: is not in the audit"


def delete_approval(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("DELETE FROM approvals"))
    return f"approvals/{told['approval']}: is missing"


def change_entry(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("UPDATE audit SET content = '{}' WHERE seq = 3"))
    return "audit/3: was changed"


def change_time(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("UPDATE audit SET at = at + 1 WHERE seq = 3"))
    return "audit/3: was changed"


def delete_entry(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("DELETE FROM audit WHERE seq = 3"))
    return "audit/3: is missing"


def delete_entries(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("DELETE FROM audit WHERE seq IN (3, 4, 5)"))
    return "audit/3-5: is missing"


def swap_entries(connection: sa.Connection, told: dict[str, str]) -> str:
    for old, new in ((3, -3), (4, 3), (-3, 4)):
        connection.execute(
            sa.text("UPDATE audit SET seq = :new WHERE seq = :old"), {"old": old, "new": new}
        )
    return "audit/3: does not follow"


def cut_off(connection: sa.Connection, told: dict[str, str]) -> str:
    connection.execute(sa.text("DELETE FROM audit WHERE seq > 18"))
    return "audit/20: is the newest by the ledger's own word"


@pytest.mark.parametrize(
    "plant",
    [
        change_reason,
        change_state,
        change_approver,
        plant_approval,
        delete_approval,
        change_entry,
        change_time,
        delete_entry,
        delete_entries,
        swap_entries,
        cut_off,
    ],
    ids=lambda plant: plant.__name__,
)
def test_what_was_done_behind_its_back_is_named(
    ledger: Ledger, told: dict[str, str], plant: Planted
) -> None:
    with ledger.database.write() as connection:
        expected = plant(connection, told)
    found = [f"{finding.row}: {finding.problem}" for finding in verify(ledger.database).findings]
    assert any(text.startswith(expected) for text in found), found


def test_an_entry_with_a_new_hash_breaks_the_chain_after_it(
    ledger: Ledger, told: dict[str, str]
) -> None:
    """Somebody who knows how hashes are made changes an entry and mends its hash."""
    with ledger.database.write() as connection:
        entry = connection.execute(sa.text("SELECT * FROM audit WHERE seq = 3")).one()
        content = json.dumps({"row_digest": "0"})
        mended = entry_hash(entry.previous, 3, entry.at, entry.kind, entry.row, content)
        connection.execute(
            sa.text("UPDATE audit SET content = :content, hash = :hash WHERE seq = 3"),
            {"content": content, "hash": mended},
        )
    found = {finding.row: finding.problem for finding in verify(ledger.database).findings}
    assert found["audit/4"] == "does not follow the entry before it"


def test_an_end_cut_off_without_a_trace_shows_beside_a_head_noted_elsewhere(
    ledger: Ledger, told: dict[str, str]
) -> None:
    noted = head(ledger.database)
    with ledger.database.write() as connection:
        cancelled = connection.execute(sa.text("SELECT row FROM audit WHERE seq = 20")).scalar_one()
        last = connection.execute(sa.text("SELECT * FROM audit WHERE seq = 18")).one()
        connection.execute(sa.text("DELETE FROM audit WHERE seq > 18"))
        connection.execute(
            sa.text("DELETE FROM requests WHERE id = :id"), {"id": cancelled.split("/")[1]}
        )
        connection.execute(
            sa.text("UPDATE ledger SET audit_seq = 18, audit_hash = :hash"), {"hash": last.hash}
        )
    assert verify(ledger.database).findings == ()
    found = [f"{each.row}: {each.problem}" for each in verify(ledger.database, noted).findings]
    assert found == ["audit/20: was noted elsewhere and is missing: the end was cut off"]


def test_stopping_and_resuming_are_in_the_audit(ledger: Ledger) -> None:
    before = verify(ledger.database).entries
    ledger.stop(person(1), "wrong group")
    ledger.resume(person(2))
    report = verify(ledger.database)
    assert (report.entries, report.findings) == (before + 2, ())
    with ledger.database.write() as connection:
        changed = schema.audit.update().where(schema.audit.c.kind == "stopped")
        connection.execute(changed.values(content='{"by":"nobody","row_digest":""}'))
    assert [each.row for each in verify(ledger.database).findings] == [f"audit/{before + 1}"]
