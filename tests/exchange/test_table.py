"""`exchange_groups`: read by a sync where Exchange is configured; elsewhere said to be unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from entra_pipeline.exchange import ExchangeClient
from entra_pipeline.extract.exchange import known, read_groups, rows_of
from entra_pipeline.lake import Lake
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import EXCHANGE, Status
from tests.cli.program import cli
from tests.provisioning.lists import EXCHANGE as TENANT
from tests.provisioning.lists import Lists
from tests.support import settings_for


@pytest.fixture(scope="module")
def mailing() -> Iterator[Simulator]:
    with running(**{**TENANT, "users": 60}, exchange_redirect=True) as simulator:
        yield simulator


def test_every_list_is_read_with_those_who_manage_it(mailing: Simulator, tmp_path: Path) -> None:
    settings = settings_for(mailing, tmp_path, exchange=True)
    lake = Lake(tmp_path / "lake", EXCHANGE)
    status = read_groups(settings, lake, "s1")
    lists = Lists(mailing)
    assert (status.status, status.rows) == (Status.COMPLETE, len(lists.groups))
    rows = {row["group_id"]: row for row in lake.read("exchange_groups").to_pylist()}
    assert rows.keys() == lists.groups.keys()
    for key, row in rows.items():
        assert row["is_dir_synced"] is bool(lists.groups[key]["onPremisesSyncEnabled"])
        secure = "Security" in row["recipient_type"]
        assert secure is bool(lists.groups[key]["securityEnabled"])
        held = {str(lists.users[each]["mail"]).lower() for each in lists.owners[key] if "-" in each}
        assert set(row["managed_by_addresses"]) == held
        assert set(row["managed_by_ids"]) <= set(lists.owners[key])
    # Who owns a list is Exchange's to say: Graph's owners do not know of it.
    assert any(row["managed_by"] == ["Organization Management"] for row in rows.values())


def test_a_list_that_shrank_is_not_believed_and_a_failure_leaves_what_was(
    mailing: Simulator, tmp_path: Path
) -> None:
    settings = settings_for(mailing, tmp_path, exchange=True, max_attempts=1)
    lake = Lake(tmp_path / "lake", EXCHANGE)
    rows = read_groups(settings, lake, "s1").rows
    empty = {"match": {"path": "InvokeCommand"}, "respond": {"status": 200, "body": {"value": []}}}
    mailing.faults([empty])
    shrunk = read_groups(settings, lake, "s2")
    assert (shrunk.status, shrunk.rows, shrunk.sync_id) == (Status.QUARANTINED, rows, "s2")
    accepted = read_groups(settings, lake, "s2", accept_shrink=True)
    assert (accepted.status, accepted.rows) == (Status.COMPLETE, 0)
    mailing.faults([])
    assert read_groups(settings, lake, "s2").rows == rows
    mailing.faults([{"match": {"path": "InvokeCommand"}, "respond": {"status": 500}}])
    failed = read_groups(settings, lake, "s3")
    assert (failed.status, failed.rows) == (Status.FAILED, rows)
    mailing.faults([])
    assert lake.info("exchange_groups").rows == rows  # type: ignore[union-attr]
    assert known(lake).status is Status.COMPLETE


def test_without_a_role_it_is_forbidden_and_without_the_setting_not_configured(
    tmp_path: Path,
) -> None:
    with running(users=20, groups=10, seed=3) as simulator:
        lake = Lake(tmp_path / "lake", EXCHANGE)
        settings = settings_for(simulator, tmp_path, exchange=True)
        status = read_groups(settings, lake, "s1")
        assert (status.status, status.rows) == (Status.FORBIDDEN, None)
        assert "Global Reader" in (status.reason or "")

        def never(_: Any) -> ExchangeClient:
            raise AssertionError("nothing is asked")

        off = read_groups(settings_for(simulator, tmp_path), lake, "s2", never)
        assert off.status is Status.NOT_CONFIGURED
        assert "ENTRA_EXCHANGE" in (off.reason or "")
        assert known(lake).status is Status.NEVER


def test_rows_are_made_of_what_is_there_and_lists_without_an_id_are_counted() -> None:
    key = "00000000-0000-4000-8000-0000000000AB"
    rows, nameless = rows_of(
        [
            {"ExternalDirectoryObjectId": key, "ManagedBy": "Anna", "IsDirSynced": "?"},
            {"ExternalDirectoryObjectId": "", "ManagedBy": [key]},
        ]
    )
    assert nameless == 1
    (row,) = rows.to_pylist()
    assert (row["group_id"], row["managed_by"], row["is_dir_synced"]) == (
        key.lower(),
        ["Anna"],
        None,
    )
    assert rows.schema.equals(EXCHANGE["exchange_groups"].schema())
    assert isinstance(rows, pa.Table)


def test_a_sync_publishes_it_and_says_so_when_it_is_not_configured(
    mailing: Simulator, tmp_path: Path
) -> None:
    env = {**mailing.settings_env(), "ENTRA_DATA_DIR": str(tmp_path / "data")}
    wanted = (
        "SELECT s.status, (SELECT count(*) FROM exchange_groups) FROM table_status s "
        "WHERE s.\"table\" = 'exchange_groups'"
    )

    def asked() -> list[list[Any]]:
        done = cli("query", wanted, "--json", env=env, cwd=tmp_path)
        assert done.code == 0, done.err
        rows: list[list[Any]] = done.json["rows"]
        return rows

    first = cli("sync", env=env, cwd=tmp_path)
    assert first.code == 0, first.err
    assert asked() == [["not_configured", 0]]
    env["ENTRA_EXCHANGE"] = "true"
    assert cli("sync", env=env, cwd=tmp_path).code == 0
    assert asked() == [["complete", len(Lists(mailing).groups)]]
    assert cli("verify", env=env, cwd=tmp_path).code == 0


def test_status_tells_of_it_like_of_any_other_table(mailing: Simulator, tmp_path: Path) -> None:
    env = {**mailing.settings_env(), "ENTRA_DATA_DIR": str(tmp_path / "data")}
    env |= {"ENTRA_MAX_ATTEMPTS": "1"}

    def told() -> tuple[dict[str, Any] | None, list[str], str]:
        document = cli("status", "--json", env=env, cwd=tmp_path).json
        rows = [row for row in document["tables"] if row["table"] == "exchange_groups"]
        assert len(rows) < 2
        missing = [row["table"] for row in document["missing"]]
        shown = cli("status", env=env, cwd=tmp_path).out
        return rows[0] if rows else None, missing, shown

    def asked() -> Any:
        query = "SELECT status, reason FROM table_status WHERE \"table\" = 'exchange_groups'"
        return cli("query", query, "--json", env=env, cwd=tmp_path).json["rows"]

    only = ("sync", "--only", "groups", "--json")
    cli(*only, env=env, cwd=tmp_path)
    # Who has no Exchange is not told of it.
    assert told()[0] is None
    env["ENTRA_EXCHANGE"] = "true"
    mailing.faults([{"match": {"path": "InvokeCommand"}, "respond": {"status": 500}}])
    try:
        report = cli(*only, env=env, cwd=tmp_path).json
        assert "exchange_groups" in [row["table"] for row in report["missing"]]
        row, missing, shown = told()
        assert row is not None
        assert (row["status"], row["rows"]) == ("failed", None)
        assert row["reason"]
        assert "exchange_groups" in missing
        assert "exchange_groups" in shown
        assert asked() == [["failed", row["reason"]]]
        # A sync that does not read it forgets nothing of that.
        cli("sync", "--only", "users", env=env, cwd=tmp_path)
        assert asked() == [["failed", row["reason"]]]
        patch = [{"op": "replace", "path": "/value/0/ExternalDirectoryObjectId", "value": ""}]
        mailing.faults([{"match": {"path": "InvokeCommand"}, "patch": patch}])
        cli(*only, env=env, cwd=tmp_path)
    finally:
        mailing.faults([])
    row, missing, shown = told()
    assert row is not None
    assert (row["status"], row["reason"]) == (
        "partial",
        "1 lists have no object id in Entra yet",
    )
    assert "exchange_groups" in missing
    assert "1 lists have no object id" in " ".join(shown.split())
    cli(*only, env=env, cwd=tmp_path)
    row, missing, _ = told()
    assert row is not None
    assert (row["status"], row["reason"], row["rows"]) == (
        "complete",
        None,
        len(Lists(mailing).groups),
    )
    assert "exchange_groups" not in missing
    env["ENTRA_EXCHANGE"] = "false"
    cli(*only, env=env, cwd=tmp_path)
    row, missing, _ = told()
    assert row is not None
    assert row["status"] == "not_configured"
    assert "exchange_groups" not in missing
