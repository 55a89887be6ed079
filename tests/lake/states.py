"""Random tables, and what should become of them, kept as plain Python rows on the side."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from entra_pipeline.tables import Table
from entra_pipeline.tables.model import BOOL, TEXT, TEXTS, TIME, column, struct, structs

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

THINGS = Table(
    name="things",
    doc="Things.",
    group="directory",
    key=("id", "part"),
    columns=(
        column("id", TEXT, "Id."),
        column("flag", BOOL, "Flag."),
        column("part", TEXT, "Part."),
        column("names", TEXTS, "Names."),
        column("weight", pa.float64(), "Weight."),
        column("plans", structs(plan_id=TEXT, disabled=TEXTS), "Plans."),
        column("place", struct(city=TEXT, since=TIME, inner=struct(kinds=TEXTS)), "Place."),
    ),
)
PAIRS = Table(
    name="pairs",
    doc="Pairs, with nothing beside their key.",
    group="directory",
    key=("left", "right"),
    columns=(column("left", TEXT, "Left."), column("right", TEXT, "Right.")),
)

Row = dict[str, Any]
State = dict[tuple[str, ...], Row]


def key_of(table: Table, row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in table.key)


def state_of(table: Table, rows: list[Row]) -> State:
    return {key_of(table, row): row for row in rows}


def rows_of(state: State) -> list[Row]:
    return [state[key] for key in sorted(state)]


def arrow(table: Table, rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=table.schema())


def moment(number: int) -> datetime:
    return NOON + timedelta(minutes=15 * number)


def thing(chosen: random.Random, identity: str, part: str) -> Row:
    """A row of THINGS: any shape of null, empty and filled values."""

    def texts() -> Any:
        return chosen.choice([None, [], [None], ["a"], ["a", "b"], ["b", None, ""]])

    return {
        "id": identity,
        "part": part,
        "flag": chosen.choice([True, False, None]),
        "names": texts(),
        "weight": chosen.choice([None, 0.0, 1.5]),
        "plans": chosen.choice(
            [None, [], [None], [{"plan_id": chosen.choice("xy"), "disabled": texts()}] * 2]
        ),
        "place": chosen.choice(
            [
                None,
                {
                    "city": chosen.choice([None, "Bonn"]),
                    "since": chosen.choice([None, NOON]),
                    "inner": chosen.choice([None, {"kinds": texts()}]),
                },
            ]
        ),
    }


def pair(chosen: random.Random, left: str, right: str) -> Row:
    return {"left": left, "right": right}


MAKERS = {"things": thing, "pairs": pair}
TABLES = {"things": THINGS, "pairs": PAIRS}


def any_row(chosen: random.Random, table: Table, spread: int = 12) -> Row:
    return MAKERS[table.name](chosen, f"{chosen.randrange(spread):03}", f"p{chosen.randrange(4)}")


def differences(table: Table, before: State, after: State) -> list[Row]:
    """What a history should say, in key order, without the sync and its time."""
    told = []
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        names = [c.name for c in table.columns if c.name not in table.key]
        row = {"operation": "update", "changed": None, **(now or was or {})}
        if names:
            row["before"] = None
        if was is None:
            row["operation"] = "insert"
        elif now is None:
            row["operation"] = "delete"
        else:
            row["changed"] = [name for name in names if was[name] != now[name]]
            row["before"] = {name: was[name] for name in names}
        told.append(row)
    return told
