"""What the checks find in stored rows, on real files and a real engine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entra_pipeline import tables
from entra_pipeline.orchestration import verify

MEMBERS = tables.get("group_members")
IDS = st.sampled_from(["a", "b", "c", "d", None])


def written(path: Path, name: str, rows: list[dict[str, object]]) -> str | None:
    schema = pa.schema([f.with_nullable(True) for f in tables.get(name).schema()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path / f"{name}.parquet")
    return verify.parquet([str(path / f"{name}.parquet")])


@given(st.lists(st.tuples(IDS, IDS), max_size=40))
@settings(max_examples=40, deadline=None)
def test_keys_that_repeat_or_are_null_are_counted(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str | None, str | None]]
) -> None:
    path = tmp_path_factory.mktemp("keys")
    rows: list[dict[str, object]] = [{"group_id": g, "member_id": m} for g, m in pairs]
    with verify.database() as connection:
        verdict = verify.key(connection, MEMBERS, written(path, "group_members", rows))
    repeated = sum(1 for count in Counter(pairs).values() if count > 1)
    null = sum(1 for pair in pairs if None in pair)
    assert verdict.facts == {"rows": len(rows), "null_keys": null, "repeated_keys": repeated}
    assert verdict.passed == (not repeated and not null)


def test_ids_that_belong_to_no_row_are_counted_and_unread_parents_are_not_judged(
    tmp_path: Path,
) -> None:
    rows: list[dict[str, object]] = [
        {"user_id": "u1", "sku_id": "s1", "source_group_id": ""},
        {"user_id": "gone", "sku_id": "s1", "source_group_id": ""},
        {"user_id": "gone", "sku_id": "s2", "source_group_id": ""},
    ]
    table = tables.get("license_assignments")
    source = written(tmp_path, table.name, rows)
    users = written(tmp_path, "users", [{"id": "u1"}])
    with verify.database() as connection:
        verdict = verify.references(connection, table, source, {"users": users})
        empty = verify.references(
            connection, table, source, {"users": users, "subscribed_skus": None}
        )
    assert not verdict.passed
    assert verdict.facts == {"dangling": 2, "user_id_not_in_users": 2, "unjudged": 1}
    assert empty.facts["sku_id_not_in_subscribed_skus"] == 3


def test_columns_are_compared_by_name_and_type() -> None:
    declared = MEMBERS.schema()
    assert verify.schema(MEMBERS, declared).passed
    first, *rest = declared
    other = pa.schema([pa.field(first.name, pa.int64()), *rest[1:], pa.field("new", pa.string())])
    verdict = verify.schema(MEMBERS, other)
    assert not verdict.passed
    assert verdict.facts["missing"] == rest[0].name
    assert verdict.facts["unexpected"] == "new"
    assert verdict.facts["other_type"] == first.name


@pytest.mark.parametrize("name", sorted(tables.TABLES))
def test_every_declared_schema_survives_parquet_and_is_recognised(
    name: str, tmp_path: Path
) -> None:
    table = tables.get(name)
    file = tmp_path / "t.parquet"
    pq.write_table(table.schema().empty_table(), file)
    assert verify.schema(table, pq.read_schema(file)).passed
