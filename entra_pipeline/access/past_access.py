"""What one principal could reach at a past moment, without the warehouse of that moment.

Here belongs the choice of rows: those that the answer rests on, read from the lake as they were.
They are few, so building on them takes a fraction of a second. The steps and the SQL that build
are the ones of every warehouse, and the question is asked as of any, so that the answer is the same
to the byte. Where few rows would not do, nothing is given, and whoever asks builds the whole.

    who → groups around → what they hold → what that is on → build → ask

Groups matter upwards only: those that the principal is in, those that these are in, and so on. What
is held only by others is not looked at. Counts of holders are neither made nor right here.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cache, partial
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import duckdb

from entra_pipeline.access import build, finding, usage
from entra_pipeline.access.engine import literal, quote, script, writing
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.lake.past import PastRows
from entra_pipeline.tables import TABLES

if TYPE_CHECKING:
    from entra_pipeline.lake import Lake, SyncRecord, TableStatus
    from entra_pipeline.lake.events import Events

# Principals of one name beyond which the whole warehouse is asked.
_MANY: Final = 20
# Names that `Names.find_principal` looks at, by table, as sql/principals.sql makes them.
_NAMES: Final = {
    "users": ("user_principal_name", "mail", "coalesce(display_name, user_principal_name, mail)"),
    "groups": ("mail", "display_name"),
    "service_principals": ("app_id", "display_name"),
    "devices": ("display_name",),
    "contacts": ("mail", "coalesce(display_name, mail)"),
}
_MANY_NEAR: Final = 1_000  # of similar names
# Of files; more than that is not few, and what is built of it belongs on disk.
_MOST_BYTES: Final = 32 * 2**20
_EVERYBODY: Final = ("all_users", "all users")
# Members that are said to be one of these are no groups.
_NO_GROUPS: Final = "('user', 'service_principal', 'device', 'contact')"
_PIM_OF_GROUPS: Final = (
    "group_assignment_schedule_instances",
    "group_eligibility_schedule_instances",
)
# What the principal or a group around it holds: the table and the holder. Three are roles.
_HELD: Final = (
    ("role_assignments", "principal_id"),
    ("role_assignment_schedule_instances", "principal_id"),
    ("role_eligibility_schedule_instances", "principal_id"),
    ("app_role_assignments", "principal_id"),
)
# What counts for its holder alone: the table, the holder, and where else the principal may be named
# so that it is known of what kind it is when no other table has it.
_OWN: Final = (
    ("group_owners", "owner_id", "group_id"),
    ("service_principal_owners", "owner_id"),
    ("application_owners", "owner_id"),
    ("device_owners", "owner_id"),
    ("administrative_unit_members", "member_id"),
    ("oauth2_permission_grants", "client_id", "principal_id"),
)
# Objects to know by name: the table, and columns that name them in what is held.
_OBJECTS: Final = {
    "users": (),
    "groups": (("group_owners", "group_id"), *((table, "group_id") for table in _PIM_OF_GROUPS)),
    "service_principals": (
        ("service_principal_owners", "service_principal_id"),
        ("app_role_assignments", "resource_id"),
        ("oauth2_permission_grants", "resource_id"),
    ),
    "applications": (("application_owners", "application_id"),),
    "administrative_units": (("administrative_unit_members", "unit_id"),),
    "devices": (("device_owners", "device_id"),),
    "contacts": (),
}
_OFFERED: Final = {
    "app_roles": "app_role_assignments",
    "delegated_permissions": "oauth2_permission_grants",
}
_WORDS: Final = re.compile(r"\w+")
_SCOPED: Final = tuple(table for table, _ in _HELD[:3])


@cache
def _spoken_of() -> frozenset[str]:
    """Every word in the SQL that builds and asks: what is not among them is no column of use."""
    scripts = [entry.read_text() for entry in files(__package__).joinpath("sql").iterdir()]
    return frozenset(_WORDS.findall(" ".join([*scripts, finding.PRINCIPAL])))


class _MoreNeededError(Exception):
    """The few rows would not give the answer of all."""


@contextmanager
def opened(
    lake: Lake,
    moment: datetime,
    text: str,
    folder: Path,
    *,
    statuses: Mapping[str, TableStatus],
    syncs: Iterable[SyncRecord],
    events: Events,
) -> Iterator[Warehouse | None]:
    """A warehouse to ask for the access of the principal that a text names; None: build the whole.

    `statuses` and `syncs` are those of the moment. Small files are left in `folder`.
    """
    if find_spec("pandas") is not None:
        # pyarrow will import it when it first meets a value of Python's, for a quarter of a second.
        Thread(target=import_module, args=("pandas",)).start()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        rows = _Rows(connection, PastRows(lake, moment, connection), folder)
        try:
            rows.gather(text)
        except _MoreNeededError:
            yield None
            return
    if sum(os.path.getsize(file) for (file,) in rows.files.values()) > _MOST_BYTES:
        yield None
        return
    # In memory. The steps open it by its name, and it is there for as long as somebody has it open.
    stage = Path(f":memory:{uuid4().hex}")
    with writing(stage) as connection:
        build.load(stage, rows.files, statuses, syncs=syncs, now=moment)
        build.principals(stage)
        build.entitlements(stage)
        build.grants(stage)
        build.closure(stage)
        with writing(stage) as step:
            usage.build(step, events, only=rows.who)
        connection.execute(script("effective"))
        warehouse = Warehouse(connection, stage)
        yield warehouse


class _Rows:
    """The rows that one principal's access rests on, in Parquet files by table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, past: PastRows, folder: Path) -> None:
        self.files: dict[str, list[str]] = {}
        self.who: set[str] = set()  # ids of those asked about
        self._connection = connection
        self._past = past
        self._folder = folder
        self._inside: set[str] = set()
        self._number = 0

    def gather(self, text: str) -> None:
        """Write the files. Raises _MoreNeededError."""
        found = self._who(text)
        who, gone = _among(self.who), not self.who <= {one for ids in found.values() for one in ids}
        members = f"member_id IN {who} OR coalesce(member_kind, '') NOT IN {_NO_GROUPS}" + (
            f" OR group_id IN {who}" if gone else ""
        )
        self._each(
            [
                partial(self._select, "members", "group_members", members),
                *(partial(self._select, f"every_{table}", table) for table in _PIM_OF_GROUPS),
                *(
                    partial(self._read, table, " OR ".join(f"{name} IN {who}" for name in names))
                    for table, *names in _OWN
                ),
                partial(self._read, "user_sign_in_activity", f"user_id IN {who}"),
                partial(self._read, "role_definitions"),
                partial(self._read, "subscribed_skus"),
                *([partial(self._read, "deleted_items", f"id IN {who}")] if gone else []),
            ]
        )
        around = _among(self._groups_around(who, gone=gone))
        self._each(
            [
                partial(self._licences, who, around),
                *(partial(self._read, table, f"{holder} IN {around}") for table, holder in _HELD),
            ]
        )
        self._objects(found)

    def _each(self, parts: Iterable[Callable[[], None]]) -> None:
        """Does all of these; the engine works outside of Python's lock, so two at a time pay."""
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(part) for part in parts]:
                done.result()

    def _who(self, text: str) -> dict[str, list[str]]:
        """The ids of all whom `Names.find_principal` could mean or propose, by table."""
        given, lower = literal(text), f"lower({literal(text)})"
        for table in _NAMES:
            if found := self._ids(table, f"id IN ({given}, {lower})"):
                self.who = {*found}
                return {table: found}  # an id wins, and names one object
        if text.lower() in _EVERYBODY:
            raise _MoreNeededError
        # Of a principal that is gone, or not there yet, something else may still tell the id.
        self.who = {text, text.lower()}
        named = self._named(lambda name: f"lower({name}) = {lower}", _MANY)
        if any(named.values()):
            self.who.update(*named.values())
            return named
        return self._named(
            lambda name: (
                f"contains(lower({name}), {lower}) "
                f"OR jaro_winkler_similarity(lower({name}), {lower}) > 0.85"
            ),
            _MANY_NEAR,
        )

    def _named(self, like: Callable[[str], str], most: int) -> dict[str, list[str]]:
        """Principals with such a name, by table. Raises _MoreNeededError when there are too many.

        Also when something that is gone has such a name: it may still be a principal by its holds.
        """
        found = {
            table: self._ids(table, " OR ".join(map(like, names)))
            for table, names in _NAMES.items()
        }
        if sum(map(len, found.values())) > most or self._ids("deleted_items", like("display_name")):
            raise _MoreNeededError
        return found

    def _groups_around(self, who: str, *, gone: bool) -> set[str]:
        """Who and all groups that they are in; writes the memberships behind that."""
        edges: dict[str, set[str]] = defaultdict(set)
        for member, group in self._all(
            "SELECT member_id, group_id FROM members"
            + "".join(
                f" UNION SELECT principal_id, group_id FROM every_{t}" for t in _PIM_OF_GROUPS
            )
        ):
            if member != group:
                edges[member].add(group)
        around, waiting = set(self.who), list(self.who)
        while waiting:
            new = edges.get(waiting.pop(), set()) - around
            around |= new
            waiting += new
        self._inside = around
        try:
            TopologicalSorter({one: edges.get(one, ()) for one in around}).prepare()
        except CycleError:
            # How far paths on cycles are counted depends on all cycles there are: `closure` has
            # one budget for them.
            self._inside = set(edges).union(*edges.values())
        inside = _among(self._inside)
        named = f" OR group_id IN {who}" if gone else ""
        self._write("group_members", f"FROM members WHERE member_id IN {inside}{named}")
        for table in _PIM_OF_GROUPS:
            self._all(
                f"CREATE TABLE {table} AS FROM every_{table} WHERE principal_id IN {inside}{named}"
            )
            self._write(table, f"FROM {table}")
        return around

    def _licences(self, who: str, around: str) -> None:
        """Their own, and what groups around them are known to bring, of somebody each."""
        self._select("licences", "license_assignments", f"user_id IN {who}")
        # Groups of everybody bring very many: no more of each row than that.
        condition = f"source_group_id IN {around} AND user_id NOT IN {who}"
        self._past.put("brought", TABLES["license_assignments"], condition, columns=())
        self._write(
            "license_assignments",
            "FROM licences UNION ALL BY NAME SELECT min(user_id) AS user_id, sku_id, "
            "source_group_id FROM brought GROUP BY ALL",
        )

    def _objects(self, found: Mapping[str, Collection[str]]) -> None:
        """Everything that what is held names, roles' scopes among it. Raises _MoreNeededError."""
        scopes = {
            row[0]
            for table in _SCOPED
            for row in self._all(
                "SELECT split_part(coalesce(directory_scope_id, app_scope_id, '/'), '/', -1) "
                f"FROM {table}"
            )
        } - {""}
        wanted = {}
        for table, naming in _OBJECTS.items():
            wanted[table] = {*found.get(table, ()), *scopes}
            for of, name in naming:
                wanted[table].update(row[0] for row in self._all(f"SELECT {name} FROM {of}"))
        wanted["groups"] |= self._inside
        resources = {
            table: {row[0] for row in self._all(f"SELECT resource_id FROM {of}")}
            for table, of in _OFFERED.items()
        }
        asked = [
            *((table, "id", ids) for table, ids in wanted.items() if ids),
            *((table, "resource_id", ids) for table, ids in resources.items() if ids),
        ]
        self._each(
            partial(self._read, table, f"{column} IN {_among(ids)}") for table, column, ids in asked
        )
        for table, ids in wanted.items():
            if ids:
                scopes -= {row[0] for row in self._all(f"SELECT id FROM {table}")}
        # A scope that is gone has its name only if something else still names it.
        if scopes and self._ids("deleted_items", f"id IN {_among(scopes)}"):
            raise _MoreNeededError

    def _read(self, table: str, condition: str = "true") -> None:
        """Rows of a table into one of its name here, and into its file."""
        self._select(table, table, condition)
        self._write(table, f"FROM {table}")

    def _select(self, name: str, table: str, condition: str = "true") -> None:
        """A table of rows as they were, in the columns that some SQL speaks of."""
        self._past.put(name, TABLES[table], condition, columns=_spoken_of())

    def _write(self, table: str, rows: str) -> None:
        """A file in key order, if there are any rows."""
        path = self._folder / f"{table}.parquet"
        key = ", ".join(map(quote, TABLES[table].key))
        ((count,),) = self._all(
            f"COPY (FROM ({rows}) ORDER BY {key}) TO {literal(str(path))} (FORMAT parquet)"
        )
        if count:
            self.files[table] = [str(path)]

    def _ids(self, table: str, condition: str) -> list[str]:
        self._number += 1
        self._past.put(f"ids_{self._number}", TABLES[table], condition, columns=())
        return [row[0] for row in self._all(f"SELECT id FROM ids_{self._number}")]

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            return cursor.execute(sql).fetchall()


def _among(texts: Iterable[str | None]) -> str:
    """The right side of IN; a null is nothing to look for."""
    return f"({', '.join(map(literal, sorted(filter(None, texts)) or ['']))})"
