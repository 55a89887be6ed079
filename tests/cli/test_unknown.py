"""Exit code 4: what could not be read is never taken for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entra_pipeline.access import needs
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.simulator.generate import DEMO_USER_UPN
from entra_pipeline.simulator.process import running
from tests.cli.program import Done, cli
from tests.support import sync

ROLES = {"role_definitions", "role_assignments", "role_eligibility_schedule_instances"}
ADMIN = "Global Administrator"


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory synced from a tenant without licences, by an application that lacks a lot."""
    lacking = ("RoleManagement.Read.Directory", "Directory.Read.All", "OrgContact.Read.All")
    with running(users=60, groups=40, seed=7, license="free", without_permission=lacking) as tenant:
        yield sync(tenant, tmp_path_factory.mktemp("poor") / "data").path


def ask(data: Path, *arguments: str) -> Done:
    return cli(*arguments, env={"ENTRA_DATA_DIR": str(data)})


def test_status_says_which_tables_are_unlicensed_or_forbidden_and_why(poor: Path) -> None:
    document = ask(poor, "status", "--json").json
    status = {row["table"]: row for row in document["tables"]}
    assert status["users"]["status"] == "complete"
    assert status["role_eligibility_schedule_instances"]["status"] == "unlicensed"
    assert status["contacts"]["status"] == "forbidden"
    assert "OrgContact.Read.All" in status["contacts"]["reason"] + status["contacts"]["permission"]
    assert document["complete"] is False
    assert {"table", "status", "reason"} == set(document["missing"][0])


def test_an_entitlement_whose_table_was_not_read_is_not_known(poor: Path) -> None:
    done = ask(poor, "who-can", ADMIN, "--json")
    assert done.code == 4
    assert any(row["table"].startswith("role_") for row in done.json["missing"])


def test_an_empty_answer_is_not_known_while_a_table_that_it_needs_is_missing(poor: Path) -> None:
    done = ask(poor, "query", "SELECT * FROM contacts", "--json")
    assert (done.code, done.json["rows"], done.json["complete"]) == (4, [], False)
    assert [row["table"] for row in done.json["missing"]] == ["contacts"]


def test_what_is_found_is_a_yes_that_says_what_it_may_lack(poor: Path) -> None:
    done = ask(poor, "access", DEMO_USER_UPN)
    assert done.code == 0
    assert "incomplete" in done.err
    assert "unlicensed" in done.err
    assert ask(poor, "access", DEMO_USER_UPN, "--json").json["complete"] is False


@pytest.mark.parametrize(
    ("sql", "missing"),
    [
        ("SELECT count(*) FROM users JOIN devices ON false", set()),
        ("FROM table_status", set()),
        ("SELECT 1", set()),
        ("FROM contacts, users", {"contacts"}),
        ("SELECT count(*) FROM principals", {"contacts"}),
        ("FROM group_closure", {"group_eligibility_schedule_instances"}),
        ("SELECT max(depth) FROM access_of('x')", ROLES),
        ("SELECT count(*) FROM effective_grants", ROLES),
    ],
)
def test_a_query_rests_on_the_tables_that_it_names_and_what_they_are_made_of(
    poor: Path, sql: str, missing: set[str]
) -> None:
    with Warehouse.open(poor / "warehouse.duckdb") as warehouse:
        found = {row.table for row in warehouse.query(sql).completeness.missing}
    assert found >= missing
    assert bool(found) == bool(missing)


def test_every_stored_table_is_known_to_rest_on_something_or_on_nothing(poor: Path) -> None:
    with Warehouse.open(poor / "warehouse.duckdb") as warehouse:
        stored = [row[0] for row in warehouse.query("SELECT table_name FROM duckdb_tables()").rows]
        states = [row[0] for row in warehouse.query('SELECT "table" FROM table_status').rows]
    everything = list(states)
    unknown = [name for name in stored if needs.of_stored([name], everything) == everything]
    assert unknown == []
