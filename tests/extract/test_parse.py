"""Pages to Arrow: the fast way, the tolerant way, and what becomes of odd values."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from entra_pipeline.extract import mapping, values
from entra_pipeline.extract.notes import (
    MISMATCHED,
    SENTINEL_DATES,
    UNKNOWN_TYPES,
    UNREADABLE_DATES,
    WITHOUT_KEY,
    Notes,
)
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.tables import get

USERS = get("users")


def page(*items: Any, indent: int | None = None) -> bytes:
    return json.dumps({"@odata.context": "…", "value": list(items)}, indent=indent).encode()


def user_rows(*items: Any, notes: Notes | None = None, indent: int | None = None) -> list[Any]:
    notes = notes or Notes()
    parsed = PageParser(mapping.shape(USERS)).page(page(*items, indent=indent), notes)
    return mapping.rows(USERS, parsed, notes).to_pylist()


def test_nested_values_are_flattened_renamed_and_typed() -> None:
    [row] = user_rows(
        {
            "id": "u1",
            "displayName": "Zoë \u0000 “quoted” \U0001f600",
            "accountEnabled": False,
            "manager": {"@odata.type": "#microsoft.graph.user", "id": "u2"},
            "employeeOrgData": {"division": "D", "costCenter": None},
            "assignedLicenses": [{"skuId": "s", "disabledPlans": ["p"]}],
            "proxyAddresses": [],
            "notDeclared": {"deep": [1, {"x": None}]},
        }
    )
    assert row["display_name"] == "Zoë \u0000 “quoted” \U0001f600"
    assert row["account_enabled"] is False
    assert row["manager_id"] == "u2"
    assert row["employee_org_data"] == {"cost_center": None, "division": "D"}
    assert row["assigned_licenses"] == [{"sku_id": "s", "disabled_plans": ["p"]}]
    assert row["proxy_addresses"] == []
    assert row["other_mails"] is None


def test_a_page_written_over_many_lines_is_read_the_fast_way() -> None:
    notes = Notes()
    rows = user_rows({"id": "u1", "city": "Oslo"}, {"id": "u2"}, notes=notes, indent=2)
    assert [(row["id"], row["city"]) for row in rows] == [("u1", "Oslo"), ("u2", None)]
    assert notes.counts() == {}


def test_an_empty_page_gives_no_rows_of_the_right_type() -> None:
    parsed = PageParser(mapping.shape(USERS)).page(b'{"value":[]}', Notes())
    assert mapping.rows(USERS, parsed, Notes()).schema.equals(USERS.schema())


def test_values_of_another_type_become_null_and_spoil_no_neighbours() -> None:
    notes = Notes()
    rows = user_rows(
        {"id": "u1", "displayName": 7, "accountEnabled": "yes", "city": "Oslo"},
        {"id": "u2", "businessPhones": ["1", 2, None], "employeeOrgData": "none"},
        None,
        "text",
        {"id": "u3", "assignedLicenses": [{"skuId": "s"}, 5]},
        notes=notes,
    )
    assert [row["id"] for row in rows] == ["u1", "u2", "u3"]
    assert (rows[0]["display_name"], rows[0]["account_enabled"]) == (None, None)
    assert rows[0]["city"] == "Oslo"
    assert rows[1]["business_phones"] == ["1"]
    assert rows[1]["employee_org_data"] is None
    assert rows[2]["assigned_licenses"] == [{"sku_id": "s", "disabled_plans": None}]
    assert notes.count(MISMATCHED) == 7


def test_numbers_that_do_not_fit_become_null_and_are_counted() -> None:
    table, notes = get("subscribed_skus"), Notes()
    body = page(
        {"skuId": "a", "id": "t_a", "consumedUnits": 2**40, "prepaidUnits": {"enabled": 3.0}},
        {"skuId": "b", "id": "t_b", "consumedUnits": 12, "prepaidUnits": {"enabled": 2.5}},
    )
    parsed = PageParser(mapping.shape(table)).page(body, notes)
    rows = mapping.rows(table, parsed, notes).to_pylist()
    assert [(r["consumed_units"], r["enabled_units"]) for r in rows] == [(None, 3), (12, None)]
    assert notes.count(MISMATCHED) == 2


def test_rows_without_a_key_are_left_out_and_counted() -> None:
    notes = Notes()
    rows = user_rows({"displayName": "nobody"}, {"id": "u1"}, notes=notes)
    assert [row["id"] for row in rows] == ["u1"]
    assert notes.counts() == {WITHOUT_KEY: 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29T23:59:59Z", datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("2024-01-01T00:00:00.1234567Z", datetime(2024, 1, 1, microsecond=123456, tzinfo=UTC)),
        ("2024-01-01T00:00:00.5Z", datetime(2024, 1, 1, microsecond=500000, tzinfo=UTC)),
        ("9999-12-31T23:59:59.9999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2024-01-01T02:00:00+02:00", datetime(2024, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00.0000000+00:00", None),
        (None, None),
    ],
)
def test_date_times_of_every_form(text: str | None, expected: datetime | None) -> None:
    notes = Notes()
    others = ["2024-05-05T05:05:05Z", None]
    read = values.instants(pa.array([text, *others], pa.string()), notes)
    assert read.to_pylist() == [expected, datetime(2024, 5, 5, 5, 5, 5, tzinfo=UTC), None]
    is_sentinel = text is not None and text.startswith("0001")
    assert notes.counts() == ({SENTINEL_DATES: 1} if is_sentinel else {})


def test_what_is_no_date_time_becomes_null_and_is_counted() -> None:
    notes = Notes()
    read = values.instants(pa.array(["yesterday", "2024-01-01T00:00:00Z"]), notes)
    assert read.to_pylist() == [None, datetime(2024, 1, 1, tzinfo=UTC)]
    assert notes.counts() == {UNREADABLE_DATES: 1}


def test_kinds_of_known_derived_unknown_and_missing_types() -> None:
    notes = Notes()
    types = [
        "#microsoft.graph.user",
        "#microsoft.graph.agentUser",
        "#microsoft.graph.agentIdentity",
        "#microsoft.graph.orgContact",
        "#microsoft.graph.somethingNew",
        None,
    ]
    found = values.kinds(pa.array(types), notes).to_pylist()
    assert found == ["user", "user", "service_principal", "contact", "unknown", "unknown"]
    assert notes.counts() == {UNKNOWN_TYPES: 1}


def test_answers_of_a_batch_are_parsed_together_and_told_apart() -> None:
    parser = PageParser(mapping.LINK)
    bodies = [page({"id": "a"}, {"id": "b"}), page(), b'{"@odata.count":0}', page({"id": "c"})]
    items, lengths = parser.answers(bodies, Notes())
    assert items.field("id").to_pylist() == ["a", "b", "c"]
    assert lengths.to_pylist() == [2, 0, 0, 1]


def test_one_odd_answer_of_a_batch_spoils_none_of_the_others() -> None:
    parser, notes = PageParser(mapping.LINK), Notes()
    bodies = [page({"id": "a"}), page({"id": 5}, {"id": "b"}), page({"id": "c"})]
    items, lengths = parser.answers(bodies, notes)
    assert items.field("id").to_pylist() == ["a", None, "b", "c"]
    assert lengths.to_pylist() == [1, 2, 1]
    assert notes.counts() == {MISMATCHED: 1}


def test_scopes_with_leading_and_repeated_blanks() -> None:
    found = values.words(pa.array([" User.Read  Mail.Read ", "", None, "openid"]))
    assert found.to_pylist() == [["User.Read", "Mail.Read"], [], [], ["openid"]]


@pytest.mark.soak
def test_parsing_and_mapping_keep_pace() -> None:
    """At least 50,000 users a second on one core, of 2.4 KB each."""
    texts = {name: f"some {name} of a person" for name in USERS.select() if "DateTime" not in name}
    for column in USERS.columns:
        if column.graph and column.type != pa.string():
            texts.pop(column.graph, None)
    body = page(*({**texts, "id": f"{n:036d}", "accountEnabled": True} for n in range(999)))
    parser, notes = PageParser(mapping.shape(USERS)), Notes()
    best = 0.0
    for _ in range(10):
        started = time.process_time()
        mapping.rows(USERS, parser.page(body, notes), notes)
        best = max(best, 999 / (time.process_time() - started))
    assert best > 50_000
