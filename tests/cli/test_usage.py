"""What the command line says before it has any data: help, the reference, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entra_pipeline.tables import TABLES
from tests.cli.program import cli

COMMANDS = [
    "demo",
    "simulate",
    "doctor",
    "login",
    "logout",
    "sync",
    "status",
    "tables",
    "query",
    "access",
    "who-can",
    "explain",
    "export",
    "serve",
]


def test_help_lists_every_command_and_what_the_exit_codes_mean() -> None:
    done = cli("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f" {command} " in done.out
    assert "4 not known because a needed table is incomplete" in " ".join(done.out.split())


@pytest.mark.parametrize("command", ["access", "export", "sync"])
def test_help_of_a_command_shows_examples(command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert f"entra-pipeline {command} " in done.out


def test_no_arguments_show_the_help_and_are_a_usage_error() -> None:
    done = cli()
    assert done.code == 2
    assert "Usage" in done.out + done.err


def test_version_is_the_installed_one() -> None:
    done = cli("--version")
    assert (done.code, done.out.split()[0]) == (0, "entra-pipeline")


@pytest.mark.parametrize(
    "arguments",
    [("acess", "x"), ("access", "x", "--bogus"), ("export", "users", "--format", "x")],
)
def test_a_mistyped_command_exits_2_and_says_so_on_stderr(arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "rror" in done.err


def test_tables_lists_every_declared_table() -> None:
    done = cli("tables")
    assert done.code == 0
    assert all(name in done.out for name in TABLES)


def test_tables_of_one_name_gives_columns_permissions_and_source() -> None:
    document = cli("tables", "group_members", "--json").json
    assert document["key"] == ["group_id", "member_id"]
    assert "GroupMember.Read.All" in document["permissions"]
    assert {"name", "type", "doc"} == set(document["columns"][0])
    people = cli("tables", "group_members")
    assert "member_kind" in people.out
    assert "GroupMember.Read.All" in people.out


def test_an_unknown_table_exits_2_and_names_what_comes_close() -> None:
    done = cli("tables", "group_member")
    assert done.code == 2
    assert "group_members" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments",
    [("who-can", "x"), ("export", "users"), ("status",)],
)
def test_without_data_the_message_says_which_command_makes_some(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert "entra-pipeline sync" in done.err
    assert "entra-pipeline demo" in done.err


def test_with_json_an_error_is_the_one_document_on_stdout(tmp_path: Path) -> None:
    done = cli("access", "x", "--json", cwd=tmp_path)
    error = json.loads(done.out)["error"]
    assert (done.code, error["exit_code"]) == (2, 2)
    assert "data" in error["message"]
    assert done.err == ""


def test_a_question_asked_beside_a_demo_points_at_the_demos_data(tmp_path: Path) -> None:
    record = tmp_path / ".demo" / "data" / "tenant.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    done = cli("access", "x", cwd=tmp_path)
    assert done.code == 2
    assert "--data-dir .demo/data" in done.err


def test_sync_without_settings_exits_2_and_names_what_is_missing(tmp_path: Path) -> None:
    done = cli("sync", cwd=tmp_path)
    assert done.code == 2
    assert "ENTRA_TENANT_ID" in done.err
    assert ".env.example" in done.err


def test_sync_of_an_unknown_table_exits_2_before_anything_is_read(tmp_path: Path) -> None:
    done = cli("sync", "--only", "user", cwd=tmp_path)
    assert done.code == 2
    assert "users" in done.err


def test_serve_with_neither_tenant_nor_demo_says_how_to_get_either(tmp_path: Path) -> None:
    done = cli("serve", cwd=tmp_path)
    assert done.code == 2
    assert ".env.example" in done.err
    assert "entra-pipeline demo" in done.err


def test_doctor_without_settings_exits_2_and_says_so_in_its_own_shape(tmp_path: Path) -> None:
    done = cli("doctor", "--json", cwd=tmp_path)
    assert done.code == 2
    assert done.json["can_sync"] is False
    assert any("ENTRA_TENANT_ID" in check["summary"] for check in done.json["checks"])


def test_the_demo_leaves_a_directory_alone_that_no_demo_made(tmp_path: Path) -> None:
    kept = tmp_path / ".demo" / "letters.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    done = cli("demo", cwd=tmp_path)
    assert done.code == 2
    assert "no demo made" in done.err
    assert kept.read_text() == "mine"
