"""`access`, `who-can`, `explain`, `query` on a synced tenant, as separate processes.

That the answers are right is tested where access is built; here: what is asked reaches it, what
comes back has the promised shape, and the exit code says what the answer is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.generate import DEMO_GUEST_UPN, DEMO_USER_UPN
from tests.cli.program import ROOT, Done, cli, environment
from tests.support import Synced

ADMIN = "Global Administrator"
Ask = Callable[..., Done]


@pytest.fixture(scope="session")
def ask(synced: Synced) -> Ask:
    """Run a command against the synced directory, named by the environment; once each."""

    @cache
    def run(*arguments: str) -> Done:
        return cli(*arguments, env={"ENTRA_DATA_DIR": str(synced.path)})

    return run


@pytest.fixture(scope="session")
def user(ask: Ask) -> dict[str, Any]:
    """The row of the tenant's much-entangled user."""
    sql = f"FROM principals WHERE user_principal_name = '{DEMO_USER_UPN}'"
    document = ask("query", sql, "--json").json
    return dict(zip(document["columns"], document["rows"][0], strict=True))


@pytest.fixture(scope="session")
def nobody(ask: Ask) -> str:
    """A principal that holds nothing at all."""
    sql = """SELECT id FROM principals WHERE kind IN ('device', 'contact', 'user')
             AND id NOT IN (SELECT principal_id FROM effective_grants) ORDER BY id LIMIT 1"""
    return str(ask("query", sql, "--json").json["rows"][0][0])


def test_access_has_the_promised_shape(ask: Ask, user: dict[str, Any]) -> None:
    done = ask("access", DEMO_USER_UPN, "--json")
    assert (done.code, done.err) == (0, "")
    document = done.json
    assert document["principal"]["id"] == user["id"]
    assert document["complete"] is True
    assert document["missing"] == []
    assert document["entitlements"]
    for row in document["entitlements"]:
        assert {
            "entitlement_id",
            "resource",
            "name",
            "state",
            "scope",
            "direct",
            "depth",
            "paths",
        } <= set(row)
        assert {"id", "kind", "name"} <= set(row["resource"])
        assert row["state"] in {"active", "eligible"}
        assert isinstance(row["direct"], bool)
        assert row["paths"] >= 1


@pytest.mark.parametrize("field", ["id", "name"])
def test_a_principal_is_found_by_its_id_and_by_its_name(
    ask: Ask, user: dict[str, Any], field: str
) -> None:
    assert (
        ask("access", user[field], "--json", "--limit", "1").json["principal"]["id"] == user["id"]
    )


def test_who_can_has_the_promised_shape_and_takes_the_shown_name_or_the_id(ask: Ask) -> None:
    done = ask("who-can", ADMIN, "--json")
    assert done.code == 0
    document = done.json
    for row in document["principals"]:
        assert {
            "principal_id",
            "kind",
            "name",
            "enabled",
            "state",
            "direct",
            "depth",
            "paths",
        } <= set(row)
    assert {"active", "eligible"} == {row["state"] for row in document["principals"]}
    identity = document["entitlement"].get("entitlement_id") or document["entitlement"]["id"]
    assert ask("who-can", identity, "--json").json["principals"] == document["principals"]


def test_explain_has_the_promised_shape_and_joins_both_ends(ask: Ask, user: dict[str, Any]) -> None:
    done = ask("explain", DEMO_USER_UPN, ADMIN, "--json")
    assert done.code == 0
    document = done.json
    assert document["truncated"] is False
    for path in document["paths"]:
        assert path[0]["from"]["id"] == user["id"]
        for step, following in pairwise(path):
            assert step["to"]["id"] == following["from"]["id"]
        for step in path:
            assert {"from", "to", "via", "kind"} <= set(step)


def test_explain_of_what_is_not_held_is_a_certain_no_with_an_empty_list(
    ask: Ask, nobody: str
) -> None:
    done = ask("explain", nobody, ADMIN, "--json")
    assert done.code == 1
    assert done.json["paths"] == []
    assert done.json["complete"] is True
    assert "no path" in ask("explain", nobody, ADMIN).out


def test_access_of_somebody_with_nothing_is_a_certain_no(ask: Ask, nobody: str) -> None:
    done = ask("access", nobody, "--json")
    assert (done.code, done.json["entitlements"]) == (1, [])


def test_pages_by_cursor_add_up_to_the_whole_answer(ask: Ask) -> None:
    whole = ask("access", DEMO_USER_UPN, "--json").json["entitlements"]
    assert len(whole) > 15
    gathered: list[Any] = []
    cursor: list[str] = []
    while True:
        page = ask("access", DEMO_USER_UPN, "--json", "--limit", "15", *cursor).json
        gathered += page["entitlements"]
        if not page["cursor"]:
            break
        assert len(page["entitlements"]) == 15
        cursor = ["--cursor", page["cursor"]]
    assert gathered == whole


def test_a_broken_cursor_is_a_usage_error(ask: Ask) -> None:
    done = ask("access", DEMO_USER_UPN, "--cursor", "nonsense")
    assert done.code == 2
    assert "cursor" in done.err


@pytest.mark.parametrize(
    ("command", "text", "meant"),
    [
        ("access", "Maya Lindq", DEMO_USER_UPN),
        ("who-can", "Global Admin", ADMIN),
    ],
)
def test_something_unknown_exits_2_and_lists_candidates(
    ask: Ask, command: str, text: str, meant: str
) -> None:
    done = ask(command, text)
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    error = ask(command, text, "--json").json["error"]
    assert any(meant in json.dumps(candidate) for candidate in error["candidates"])


def test_people_see_names_and_are_told_how(ask: Ask) -> None:
    done = ask("who-can", ADMIN)
    assert done.code == 0
    assert "direct" in done.out
    assert "by 1 group" in done.out
    assert "eligible" in done.out
    path = ask("explain", DEMO_USER_UPN, ADMIN)
    assert "PAG-Global-Admins" in path.out


def test_people_see_at_most_the_limit_and_are_told_that_there_is_more(ask: Ask) -> None:
    done = ask("access", DEMO_USER_UPN, "--limit", "2")
    assert "--limit 0" in done.err
    assert len(ask("access", DEMO_USER_UPN, "--limit", "0").out) > len(done.out)


def test_ids_are_shown_when_asked_for(ask: Ask) -> None:
    assert "role:62e90394-69f5-4237-9190-012177145e10@/" not in ask("access", DEMO_GUEST_UPN).out
    shown = ask("access", DEMO_GUEST_UPN, "--ids").out
    assert "role:62e90394-69f5-4237-9190-012177145e10@/" in shown


def test_query_gives_columns_and_rows_as_arrays_with_times_in_rfc_3339(ask: Ask) -> None:
    document = ask(
        "query",
        "SELECT id, created_date_time AS at, 1.5 AS x FROM users ORDER BY id LIMIT 2",
        "--json",
    ).json
    assert document["columns"] == ["id", "at", "x"]
    assert [len(row) for row in document["rows"]] == [3, 3]
    at = document["rows"][0][1]
    assert at.endswith("Z")
    datetime.fromisoformat(at)
    assert {"complete", "missing"} <= set(document)


def test_query_without_rows_is_done_and_keeps_its_columns(ask: Ask) -> None:
    done = ask("query", "SELECT id FROM users WHERE false", "--json")
    assert (done.code, done.json["columns"], done.json["rows"]) == (0, ["id"], [])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; DROP TABLE users",
        "COPY users TO '{tmp}/stolen.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "ATTACH '{tmp}/other.duckdb'",
        "SET enable_external_access = true",
    ],
)
def test_query_writes_nothing_and_reads_no_other_file(ask: Ask, tmp_path: Path, sql: str) -> None:
    done = ask("query", sql.replace("{tmp}", str(tmp_path)))
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_sql_exits_2_with_what_duckdb_says(ask: Ask) -> None:
    done = ask("query", "SELECT nmae FROM users")
    assert done.code == 2
    assert "nmae" in done.err


def test_the_option_names_another_data_directory(synced: Synced, tmp_path: Path) -> None:
    done = cli("who-can", ADMIN, "--data-dir", str(synced.path), cwd=tmp_path)
    assert done.code == 0


def test_questions_never_import_dagster_nor_what_else_takes_long(synced: Synced) -> None:
    questions = [
        ["access", DEMO_USER_UPN],
        ["who-can", ADMIN, "--json"],
        ["explain", DEMO_USER_UPN, ADMIN],
        ["query", "SELECT 1"],
    ]
    others = [["status"], ["tables"], ["export", "domains"]]
    program = """
import json, sys
import entra_pipeline.cli as cli

def loaded(arguments, unwanted):
    sys.argv[1:] = arguments
    try:
        cli.main()
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
    return sorted({name.split(".")[0] for name in sys.modules} & unwanted)

questions, others = map(json.loads, sys.argv[1:3])
heavy = {"dagster", "assets", "pandas", "pyarrow", "deltalake", "msal"}
found = [loaded(arguments, heavy) for arguments in questions]
found += [loaded(arguments, {"dagster", "assets"}) for arguments in others]
print(found, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(questions), json.dumps(others)],
        env=environment(ENTRA_DATA_DIR=str(synced.path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == str([[]] * (len(questions) + len(others)))
