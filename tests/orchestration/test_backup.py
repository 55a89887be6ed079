"""Backup and restore, tried: copied while a sync runs, restored after a loss, synced further."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from entra_pipeline.simulator.process import running
from tests.cli.program import cli

# Nobody is left in the bin of so small a tenant.
SHRINKS = ("--accept-shrink", "deleted_items")


def test_a_backup_taken_during_a_sync_restores_what_was_lost(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    with running(users=60, groups=40, seed=21, latency_ms=30) as tenant:
        env = {**tenant.settings_env(), "ENTRA_DATA_DIR": str(data)}
        assert cli("sync", env=env, cwd=tmp_path).code == 0
        before = cli("export", "users", env=env).out
        tenant.mutate(1, 80)
        with ThreadPoolExecutor(1) as elsewhere:
            full = ("sync", "--full", *SHRINKS)
            sync = elsewhere.submit(cli, *full, env=env, cwd=tmp_path)
            while not _runs(data):
                assert not sync.done()
                time.sleep(0.05)
            done = cli("backup", str(copy), "--json", env=env, cwd=tmp_path)
            assert done.code == 0, done.out
            assert done.json["tables"] > 20
            assert sync.result().code == 0
        shutil.rmtree(data)
        # Restoring is putting the copy where the data directory was.
        shutil.copytree(copy, data, symlinks=True)
        whole = cli("verify", "--json", env=env, cwd=tmp_path)
        assert whole.code == 0, whole.out
        assert whole.json["whole"] is True
        assert {"users", "books.sqlite", "warehouse.duckdb"} <= {
            part["part"] for part in whole.json["parts"]
        }
        assert cli("export", "users", env=env).out == before
        restored = cli("status", "--json", env=env).json
        assert restored["sync"]["outcome"] in ("succeeded", "died")
        assert {t["status"] for t in restored["tables"]} <= {"complete", "never"}
        synced = cli("sync", "--json", *SHRINKS, env=env, cwd=tmp_path)
        assert synced.code == 0, synced.out
        fresh = {**env, "ENTRA_DATA_DIR": str(tmp_path / "fresh")}
        assert cli("sync", env=fresh, cwd=tmp_path).code == 0
        for table in ("users", "group_members", "grants"):
            ours = sorted(cli("export", table, env=env).out.splitlines())
            assert ours == sorted(cli("export", table, env=fresh).out.splitlines()), table
        # What is damaged afterwards is found, and named.
        (file,) = (data / "lake" / "organization").glob("*.parquet")
        file.unlink()
        broken = cli("verify", env=env)
        assert broken.code == 3
        assert "organization: " in broken.err


def _runs(data: Path) -> bool:
    """Whether a sync has begun to write."""
    lake = data / "lake"
    newest = max((p.stat().st_mtime for p in lake.glob("*/_delta_log/*.json")), default=0.0)
    first = os.stat(data / "warehouse.duckdb").st_mtime
    return newest > first
