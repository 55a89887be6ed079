"""At what place of which feed each table stands, and the rounds of one extraction.

Here: the cursor that a table is committed with, whether a table may be read by its changes, and
each feed's round, read once for all tables. Not here: which tables follow which feeds
(`followed`), the rounds themselves (`delta`) and what they mean for rows (`increments`).

Every table keeps its own place in each of its feeds. So a table that could not be committed is
simply behind: the next sync reads the feed from the oldest place of all, and what the others see
a second time changes nothing, because a round only says how things are now.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pyarrow as pa

from entra_pipeline.extract.arrow import Array
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import Round, bookmark, follow
from entra_pipeline.extract.followed import CHOSEN_BY, FEEDS, FILTERS, FOLLOWED, HINTED
from entra_pipeline.extract.hints import Hints
from entra_pipeline.extract.notes import NO_DELTA, Notes
from entra_pipeline.extract.source import IncompleteError, Source
from entra_pipeline.lake import CommitInfo, Lake
from entra_pipeline.msgraph import GraphError
from entra_pipeline.settings import Settings
from entra_pipeline.tables import get

log = logging.getLogger(__name__)
T = TypeVar("T")

_FORMAT = 1
"""Grows when older cursors stand for something else: those tables are then read in full."""

_HINTS = "hints"
"""The place in the directory's audits, among a table's places in feeds."""

NextHints = Callable[[datetime, str], tuple[Hints, str] | None]
"""What the audits since a moment point at, and what was seen (`hints.Hinted.read`)."""


@dataclass(frozen=True)
class _Place:
    """A link, and when it was given by our clock: the oldest of several brings the most.

    Of the hints: what was seen of the audits.
    """

    at: str
    link: str


class Feeds:
    """The feeds of one extraction. Safe for many threads.

    `wanted`: the tables to be committed; `hints`: reads the audits; `full`: let nothing be read
    by changes.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        source: Source,
        wanted: Iterable[str],
        hints: NextHints,
        *,
        full: bool,
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._source = source
        self._wanted = [name for name in wanted if name in FOLLOWED]
        self._next_hints = hints
        self._full = full
        self._lock = threading.Lock()
        self._memo: dict[str, Future[Any]] = {}

    @property
    def full(self) -> bool:
        """Whether everything is to be read whole."""
        return self._full

    def committed(self, table: str) -> bool:
        """Whether the table was ever read; False also when that cannot be told."""
        try:
            return self._info(table) is not None
        except Exception as error:
            log.debug("%s cannot be looked at: %s", table, type(error).__name__)
            return False

    # ---- may a table be read by its changes ----------------------------------------------------

    def can(self, tables: Iterable[str]) -> bool:
        """Whether all of the tables may be brought up to date by rounds and hints."""
        names = list(tables)
        if any(self._places(name) is None for name in names):
            return False
        if HINTED.isdisjoint(names):
            return True
        hints = self.hints()
        return hints is not None and all(
            hints.tables.get(name, frozenset()) is not None for name in names
        )

    def follows(self, table: str) -> bool:
        """Whether the table could be read by changes at all, with these settings."""
        return table in FOLLOWED and not getattr(self._settings, FILTERS.get(table, ""), False)

    def wants(self, table: str) -> bool:
        """Whether the table is one of those that this extraction commits by its feeds."""
        return table in self._wanted

    def _places(self, table: str) -> dict[str, _Place] | None:
        return self.once(f"places of {table}", lambda: self._read_places(table))

    def _read_places(self, table: str) -> dict[str, _Place] | None:
        """Where the table stands; None when it has to be read in full."""
        if self._full or not self.follows(table):
            return None
        info = self._info(table)
        if info is None or info.cursor is None or info.declaration != get(table).version:
            return None
        # Older than that, links die: seven days by Microsoft's documentation.
        longest = timedelta(days=self._settings.full_read_days)
        if not timedelta(0) <= datetime.now(UTC) - info.full_as_of < longest:
            return None
        return _decoded(info.cursor, self._fingerprint(table), _stands_in(table))

    def _info(self, table: str) -> CommitInfo | None:
        return self.once(f"info of {table}", lambda: self._lake.info(table))

    def _fingerprint(self, table: str) -> str:
        """What a cursor of the table stands for: what its feeds track, what it was asked for."""
        selects = [FEEDS[name].select(self._settings) for name in FOLLOWED[table]]
        setting = getattr(self._settings, CHOSEN_BY.get(table, ""), None)
        text = json.dumps([_FORMAT, selects, *([setting] if setting is not None else [])])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # ---- rounds --------------------------------------------------------------------------------

    def round(self, name: str, notes: Notes, priority: int) -> Round:
        """What happened since the oldest place of the wanted tables; read once.

        Raises what `delta.follow` raises.
        """
        for earlier in FEEDS[name].after:
            if earlier in self._in_use():
                self._settled(lambda earlier=earlier: self.round(earlier, notes, priority))  # type: ignore[misc]
        return self._begun(name, notes, priority)[1]

    def fresh(self, name: str, notes: Notes, priority: int) -> Array:
        """Ids of objects in the round that were not there before, or may not have been.

        Some are new, some restored, and for those Graph announces no links of others to them.
        """
        return self._begun(name, notes, priority)[2]

    def _begun(self, name: str, notes: Notes, priority: int) -> tuple[str, Round, Array]:
        return self.once(f"round of {name}", lambda: self._follow(name, notes, priority))

    def _follow(self, name: str, notes: Notes, priority: int) -> tuple[str, Round, Array]:
        places = [place[name] for place in self._standing() if name in place]
        start = min(places, key=lambda place: place.at)
        at = _now()
        found = follow(
            self._source,
            FEEDS[name],
            self._settings,
            start.link,
            notes,
            self._label(name),
            priority,
        )
        return at, found, self._unknown(name, start, found)

    def _standing(self) -> list[dict[str, _Place]]:
        return [place for name in self._wanted if (place := self._places(name)) is not None]

    def _label(self, name: str) -> str:
        """The table that the requests of a feed are counted for."""
        users = [table for table in self._wanted if name in FOLLOWED[table]]
        return name if name in users or not users else users[0]

    def _in_use(self) -> set[str]:
        return {feed for name in self._wanted for feed in FOLLOWED[name]}

    def _unknown(self, name: str, start: _Place, found: Round) -> Array:
        """The objects of a round that the table as it was at the round's start did not hold."""
        ids = found.ids
        if not len(ids) or name not in FOLLOWED:
            return ids
        places = self._places(name)
        if places is None or places[name] != start:
            return ids  # the table is of another moment: it does not tell
        known = self._lake.read(name, ("id",)).column("id")
        before, after = self._info(name), self._lake.info(name)
        if before is None or after is None or before.version != after.version:
            return ids
        return ids.filter(pc.invert(pc.is_in(ids, value_set=known.combine_chunks())))

    # ---- hints ---------------------------------------------------------------------------------

    def hints(self) -> Hints | None:
        """What the audits point at since the oldest place of the wanted tables; read once.

        None when the audits cannot be read: then any row of the hinted tables may have changed.
        """
        read = self._hinted()
        return None if read is None else read[1]

    def hinted(self, table: str) -> Array:
        """Ids of the objects that hints name in a table which `can` be read by changes."""
        hints = self.hints()
        named = (hints.tables.get(table) if hints is not None else None) or frozenset()
        return pa.array(sorted(named), pa.string())

    def lives(self) -> Array:
        """Ids of the objects that came, went or came back, as the audits tell."""
        hints = self.hints()
        return pa.array(sorted(hints.lives) if hints is not None else [], pa.string())

    def before(self, table: str) -> datetime:
        """When the table was last brought up to date: what fell due since may have changed it."""
        places = self._places(table)
        if places is None or _HINTS not in places:
            raise ValueError(f"{table} has no place among the hints")
        return datetime.fromisoformat(places[_HINTS].at)

    def _hinted(self) -> tuple[_Place, Hints] | None:
        return self.once(_HINTS, self._read_hints)

    def _read_hints(self) -> tuple[_Place, Hints] | None:
        # Before anything is read again: what happens meanwhile is hinted at the next time.
        at = _now()
        places = [place[_HINTS] for place in self._standing() if _HINTS in place]
        oldest = min(places, key=lambda place: place.at)
        read = self._next_hints(datetime.fromisoformat(oldest.at), oldest.link)
        return None if read is None else (_Place(at, read[1]), read[0])

    # ---- bookmarks -----------------------------------------------------------------------------

    def bookmark(self, tables: Iterable[str], notes: Notes, priority: int) -> None:
        """Take the places from which later rounds of the tables go on. Call before reading.

        Where Graph has no feed for one, it stays without a cursor, and that is noted.
        """
        for table in tables:
            if self.follows(table) and table in self._wanted:
                if table in HINTED:
                    self.once(f"mark of {_HINTS}", lambda: _Place(_now(), ""))
                    with self._lock:
                        asked = self._memo.get(_HINTS)
                    if asked is not None and asked.result() is None:
                        notes.add(NO_DELTA)
                for name in sorted(FOLLOWED[table], key=lambda name: len(FEEDS[name].after)):
                    if self._mark(name, priority) is None:
                        notes.add(NO_DELTA)

    def _mark(self, name: str, priority: int) -> _Place | None:
        for earlier in FEEDS[name].after:
            if earlier in self._in_use():
                self._mark(earlier, priority)
        return self.once(f"mark of {name}", lambda: self._take_mark(name, priority))

    def _take_mark(self, name: str, priority: int) -> _Place | None:
        with self._lock:
            round_ = self._memo.get(f"round of {name}")
        if round_ is not None and round_.done() and round_.exception() is None:
            begun, found, _ = round_.result()
            return _Place(begun, found.end)  # where the round ended is early enough
        at = _now()
        try:
            link = bookmark(self._source, FEEDS[name], self._settings, self._label(name), priority)
        except (GraphError, IncompleteError) as error:
            log.info("%s: no changes can be followed (%s)", name, error)
            return None
        return _Place(at, link)

    # ---- cursors -------------------------------------------------------------------------------

    def cursor(self, table: str, *, full: bool) -> str | None:
        """What the table is to be committed with: after a full read (None when it cannot go on
        by changes), or after the rounds of its feeds.
        """
        if not self.follows(table):
            return None
        places: dict[str, _Place] = {}
        for name in _stands_in(table):
            key = f"mark of {name}" if full else name if name == _HINTS else f"round of {name}"
            with self._lock:
                future = self._memo.get(key)
            value = future.result() if future is not None else None
            if value is None:
                return None
            if full:
                places[name] = value
            elif name == _HINTS:
                places[name] = value[0]
            else:
                places[name] = _Place(value[0], value[1].end)
        links = {name: [place.at, place.link] for name, place in places.items()}
        return json.dumps({"of": self._fingerprint(table), "links": links})

    # ---- once for all readers ------------------------------------------------------------------

    def once(self, key: str, work: Callable[[], T]) -> T:
        """What `work` gives or raises, done by the first who asks."""
        with self._lock:
            future = self._memo.get(key)
            mine = future is None
            if future is None:
                future = self._memo[key] = Future()
        if mine:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
        result: T = future.result()
        return result

    @staticmethod
    def _settled(work: Callable[[], Any]) -> None:
        """Do it for the order's sake; whoever needs the outcome asks again."""
        try:
            work()
        except Exception as error:
            log.debug("another feed failed: %s", type(error).__name__)


def _stands_in(table: str) -> tuple[str, ...]:
    """The feeds that the table has a place in, and the hints where it needs them."""
    return (*FOLLOWED[table], _HINTS) if table in HINTED else FOLLOWED[table]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _decoded(cursor: str, of: str, feeds: Iterable[str]) -> dict[str, _Place] | None:
    try:
        document = json.loads(cursor)
        if document["of"] != of:
            return None
        return {name: _Place(*map(str, document["links"][name])) for name in feeds}
    except (ValueError, KeyError, TypeError):
        return None
