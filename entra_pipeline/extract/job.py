"""One reader at work: what it may use, and how it hands over its tables.

Here: the reader's declaration and its job. Not here: any table's requests (the readers), and
threads (`extraction`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from entra_pipeline.extract import memory
from entra_pipeline.extract.arrow import Array
from entra_pipeline.extract.delta import DoubtError, Round, WholeError
from entra_pipeline.extract.facts import Facts
from entra_pipeline.extract.feeds import Feeds
from entra_pipeline.extract.notes import DOUBTED, Notes
from entra_pipeline.extract.outcome import DependencyError, SuspectError
from entra_pipeline.extract.source import IncompleteError, Source
from entra_pipeline.extract.turns import CancelledError
from entra_pipeline.lake import Lake
from entra_pipeline.msgraph import GraphError
from entra_pipeline.settings import Settings
from entra_pipeline.tables import Table, get

log = logging.getLogger(__name__)

# Rows of a table whose reading in full is nothing to save memory for.
_SMALL = 10_000


@dataclass(frozen=True)
class Reader:
    """What fills some tables.

    `read` publishes each of its tables as soon as it is whole, or raises; an exception is the
    fate of those not published yet. `gives`: facts for other readers. `needs`: readers that must
    run too, because their facts are the only source; `needs_with`: more of them when a setting
    is on.
    """

    name: str
    tables: tuple[str, ...]
    read: Callable[["Job"], None]
    gives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    needs_with: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    priority: int = 5


@dataclass(frozen=True)
class Partial:
    """Why some objects of a published table are missing, and the permission that would help."""

    reason: str
    permission: str | None = None


@dataclass(frozen=True)
class Amendment:
    """How a table's rows change: `Lake.amend` says what the parts mean."""

    table: str
    upserts: pa.Table
    deletes: pa.Table | None = None
    within: tuple[str, Array] | None = None


Publish = Callable[[str, pa.Table, Partial | None, str | None], None]
Amend = Callable[[Amendment, str | None], None]
Fail = Callable[[str, BaseException], None]
Tell = Callable[[str, int, int | None], None]
Doubt = Callable[[str, int], str | None]


class Job:
    """The surroundings of one reader in one extraction.

    `label`: the table that shared requests are counted for.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        settings: Settings,
        source: Source,
        lake: Lake,
        facts: Facts,
        feeds: Feeds,
        wanted: frozenset[str],
        notes: Mapping[str, Notes],
        label: str,
        publish: Publish,
        amend: Amend,
        fail: Fail,
        doubt: Doubt,
        tell: Tell,
    ) -> None:
        self.reader = reader
        self.settings = settings
        self.source = source
        self.lake = lake
        self.facts = facts
        self.feeds = feeds
        self._wanted = wanted
        self._label = label
        self._publish = publish
        self._amend = amend
        self._fail = fail
        self._doubt = doubt
        self._tell = tell
        self._notes = notes
        self._rows: dict[str, int] = dict.fromkeys(reader.tables, 0)

    @property
    def priority(self) -> int:
        """Whose requests go first: the lower number's."""
        return self.reader.priority

    def fact(self, name: str) -> Any:
        """What another reader of this extraction learned, waiting for it.

        Raises DependencyError, naming the table, when that reader failed.
        """
        try:
            return self.facts.get(name)
        except CancelledError:
            raise
        except Exception as error:
            raise DependencyError(f"{name.partition('.')[0]} could not be read") from error

    def fact_or_former(
        self, name: str, columns: tuple[str, str], former: Callable[[pa.Table], Any]
    ) -> tuple[Any, Partial | None]:
        """As `fact`, but what was committed last has to do when the other reader failed.

        `former` works the fact out from those columns of the other reader's table. Then the
        answer says as of when it is, which makes what is read by it partial.
        """
        table = name.partition(".")[0]
        try:
            return self.fact(name), None
        except DependencyError as error:
            info = self.lake.info(table)
            if info is None:
                raise
            log.info("%s: %s, the last committed ones are used", self.reader.name, error)
            moment = f"{info.as_of:%Y-%m-%d %H:%M} UTC"
            reason = f"{error}; those of {moment} were used"
            return former(self.lake.read(table, columns)), Partial(reason)

    def wants(self, *names: str) -> bool:
        """Whether any of the tables is to be committed."""
        return any(name in self._wanted for name in names)

    def granted(self, permission: str) -> bool:
        """Whether the token carries a permission; True also when it cannot be told."""
        permissions = self.source.client.token_claims().permissions
        return not permissions or permission in permissions

    def label(self, *names: str) -> str:
        """The table that requests are counted for: the first of the names that is wanted."""
        return next((name for name in names if name in self._wanted), self._label)

    def table(self, name: str) -> Table:
        """The declaration."""
        return get(name)

    def notes(self, name: str) -> Notes:
        """The oddities of a table."""
        return self._notes[name]

    def counted(self, name: str, rows: int, expected: int | None = None) -> None:
        """Tell those who watch that so many more rows of a table were read."""
        self._rows[name] += rows
        if name in self._wanted:
            self._tell(name, self._rows[name], expected)

    def believe(self, name: str, rows: int) -> None:
        """Call it when a list is whole, before anything is made of it.

        Raises SuspectError when it came back with too few objects: then whatever else came with
        those pages (members, licences, credentials) is as doubtful, however many rows it has.
        """
        if (reason := self._doubt(name, rows)) is not None:
            raise SuspectError(f"{name} {reason}")

    def doubts(self, name: str, rows: int) -> bool:
        """Whether so few rows of a table would not be believed."""
        return self._doubt(name, rows) is not None

    def publish(
        self,
        name: str,
        rows: Iterable[pa.RecordBatch] | pa.Table,
        *,
        partial: Partial | None = None,
    ) -> None:
        """Commit a table that was read whole, or (`partial` says why) all but some objects.

        What is not whole is read in full the next time too. Tables that nobody asked for are
        dropped.
        """
        if name not in self._wanted:
            return
        cursor = self.feeds.cursor(name, full=True) if partial is None else None
        if not isinstance(rows, pa.Table):
            rows = pa.Table.from_batches(list(rows), schema=self.table(name).schema())
        self._publish(name, rows, partial, cursor)

    def by_changes(self, work: Callable[["Job"], Iterable[Amendment]]) -> bool:
        """Bring the reader's tables up to date by what changed, where that can be done safely.

        False when they are to be read in full: by the caller, who finds the bookmarks taken from
        which the next sync can go on. `work` gives the amendments of all tables of the reader,
        or raises when anything is in doubt.
        """
        names = [name for name in self.reader.tables if name in self._wanted]
        if names and self.feeds.can(names):
            try:
                amendments = [each for each in work(self) if each.table in names]
            except CancelledError:
                raise
            except WholeError as error:
                log.info("%s: read in full: %s", self.reader.name, error)
            except Exception as error:
                # The text of an unforeseen error may quote data.
                known = isinstance(error, GraphError | IncompleteError | DoubtError)
                why = error if known else type(error).__name__
                log.info("%s: read in full, its changes will not do (%s)", self.reader.name, why)
                if not known:
                    log.debug("%s: changes failed", self.reader.name, exc_info=error)
                self.notes(names[0]).add(DOUBTED)
            else:
                for each in amendments:
                    self._amend(each, self.feeds.cursor(each.table, full=False))
                return True
        if any(self._is_large(name) for name in names):
            memory.hold_little()
        for name in names:
            self.feeds.bookmark([name], self.notes(name), self.priority)
        return False

    def _is_large(self, name: str) -> bool:
        """Whether a table is not known to be small."""
        info = self.lake.info(name)
        return info is None or info.rows > _SMALL

    def round(self, feed: str) -> Round:
        """What happened in a feed. Raises what makes it no base for amendments."""
        return self.feeds.round(feed, self._notes_of(feed), self.priority)

    def fresh(self, feed: str) -> Array:
        """Ids of the objects in a feed's round that came, or came back."""
        return self.feeds.fresh(feed, self._notes_of(feed), self.priority)

    def hinted(self, name: str) -> Array:
        """Ids of the objects whose rows of a table the directory's audits point at."""
        return self.feeds.hinted(name)

    def lives(self) -> Array:
        """Ids of the objects of which the audits tell that they came, went or came back."""
        return self.feeds.lives()

    def _notes_of(self, feed: str) -> Notes:
        return self._notes[feed]

    def fail(self, name: str, error: BaseException) -> None:
        """One table of several could not be read; the reader goes on with the others."""
        if name in self._wanted:
            self._fail(name, error)

    def attempt(self, name: str, work: Callable[[], Any]) -> None:
        """Do work for one table; if it fails, only that table does."""
        try:
            work()
        except Exception as error:
            self.fail(name, error)
