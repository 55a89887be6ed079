"""Many paged reads at once, in full batches.

Here: sending what the plan says, reading the answers, following next links. Not here: the order
(`plan`) and the meaning of what is read (the readers).
"""

import itertools
import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from entra_pipeline.extract.arrow import Structs
from entra_pipeline.extract.notes import RESTARTED, VANISHED, Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.plan import K, Plan, Read
from entra_pipeline.extract.source import AHEAD, PAGE, Source
from entra_pipeline.extract.turns import CancelledError
from entra_pipeline.msgraph import BatchItem, BatchResult, GraphError, Service, decode_page
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    NotFoundError,
    PageTokenExpiredError,
)
from entra_pipeline.msgraph.paging import Page, Walk

MAX_RESTARTS = 5
"""Times that one read may begin again because its page token expired."""


@dataclass
class Answered(Generic[K]):
    """One read to its end. `error` is set when the object is there but could not be read.

    `items`: the arrays of its pages; `expected`: `@odata.count` if it was asked for.
    """

    key: K
    items: list[Structs]
    expected: int | None = None
    error: GraphError | None = None

    @property
    def size(self) -> int:
        """How many items were read."""
        return sum(map(len, self.items))


@dataclass
class _Progress(Generic[K]):
    """What is known of a read under way.

    `unparsed`: pages that arrived and are not in `result` yet; `ended`: no further page comes.
    """

    first: str
    walk: Walk
    result: Answered[K]
    restarts: int = 0
    pages: int = 0
    unparsed: int = 0
    ended: bool = False


@dataclass
class _Piece(Generic[K]):
    """The answer to one item of a batch, and whose it is."""

    page: Page | None = None
    error: GraphError | None = None
    progress: _Progress[K] | None = None
    is_last: bool = False


@dataclass
class _Back(Generic[K]):
    """A batch that came back, or failed as a whole."""

    batch: Sequence[Read[K]]
    pieces: list[_Piece[K]] = field(default_factory=list)
    failure: BaseException | None = None


@dataclass
class _Parsed(Generic[K]):
    """The items of a batch that came back, one array for each piece that has a page."""

    pieces: Sequence[_Piece[K]]
    items: Sequence[Structs] = ()
    failure: BaseException | None = None


def copied(items: Structs) -> Structs:
    """The items without what they are a slice of."""
    return items.take(pa.array(range(len(items)), pa.int32()))


def joined(
    answers: Sequence[Answered[K]], kind: pa.StructType
) -> tuple[Structs, npt.NDArray[np.int64]]:
    """All items of the answers, and for each the position of its answer."""
    empty = pa.array([], kind)
    items = pa.concat_arrays([empty, *(items for answer in answers for items in answer.items)])
    return items, np.repeat(np.arange(len(answers)), [answer.size for answer in answers])


class FanOut(Generic[K]):
    """Reads of many small collections of one type.

    Feed it from any thread with `add` and then `close`; take the results from one thread with
    `results`. `eventual` sends ConsistencyLevel with each item.
    """

    def __init__(
        self,
        source: Source,
        parser: PageParser,
        notes: Notes,
        *,
        table: str,
        service: Service = Service.DIRECTORY,
        eventual: bool = False,
        priority: int = 5,
    ) -> None:
        self._source = source
        self._parser = parser
        self._notes = notes
        self._table = table
        self._service = service
        self._headers = {"ConsistencyLevel": "eventual"} if eventual else {}
        self._priority = priority
        self._plan: Plan[K] = Plan(source.turns.slots)
        self._events: queue.SimpleQueue[list[Read[K]] | _Back[K] | _Parsed[K] | int | None] = (
            queue.SimpleQueue()
        )
        self._parsing = 0
        self._reads: dict[K, _Progress[K]] = {}

    def add(self, reads: Iterable[Read[K]]) -> None:
        """Take on further reads."""
        self._events.put(list(reads))

    def expect(self, pages: int) -> None:
        """A read that has not begun may turn out to have so many pages."""
        self._events.put(pages)

    def close(self) -> None:
        """No further reads will be added."""
        self._events.put(None)

    def results(self) -> Iterator[Answered[K]]:
        """Each read as soon as it is whole. Vanished objects are counted and left out.

        Raises the GraphError of a batch that failed as a whole.
        """
        plan = self._plan
        try:
            while not plan.finished() or self._parsing:
                while self._parsing <= AHEAD and (batch := plan.next_batch()):
                    self._dispatch(batch)
                if plan.finished() and not self._parsing:
                    break
                event = self._events.get()
                if event is None:
                    plan.close()
                elif isinstance(event, int):
                    plan.longest_expected = event
                elif isinstance(event, _Back):
                    self._back(event)
                    if event.failure is not None:
                        raise event.failure
                    yield from self._advance(event)
                elif isinstance(event, _Parsed):
                    self._parsing -= 1
                    if event.failure is not None:
                        raise event.failure
                    yield from self._fill(event)
                else:
                    plan.add(event)
        finally:
            self._drain()

    def _dispatch(self, batch: Sequence[Read[K]]) -> None:
        def never_sent(future: Future[None]) -> None:
            if (failure := future.exception()) is not None:
                self._events.put(_Back(batch, failure=failure))

        try:
            turn = self._source.turns.submit(self._priority, self._send, batch)
        except CancelledError as failure:
            self._events.put(_Back(batch, failure=failure))
        else:
            turn.add_done_callback(never_sent)

    def _back(self, back: _Back[K]) -> None:
        self._plan.answered(back.batch)
        # Its pages are being parsed from now on: `_send` hands them over.
        self._parsing += any(piece.page is not None for piece in back.pieces)

    def _drain(self) -> None:
        """Wait for what is under way: nobody may use the executors after the reader ended."""
        while self._plan.in_flight or self._parsing:
            event = self._events.get()
            if isinstance(event, _Back):
                self._back(event)
            elif isinstance(event, _Parsed):
                self._parsing -= 1

    # ---- in the fetching and parsing threads -------------------------------------------------

    def _send(self, batch: Sequence[Read[K]]) -> None:
        items = [
            BatchItem(str(position), read.url, self._headers) for position, read in enumerate(batch)
        ]
        try:
            results = self._source.client.batch(items, table=self._table, service=self._service)
            pieces = [_decoded(result, read) for result, read in zip(results, batch, strict=True)]
        except BaseException as failure:
            self._events.put(_Back(batch, failure=failure))
            return
        # The next links first: a chain of pages should not wait for what becomes of its items.
        self._events.put(_Back(batch, pieces))
        good = [piece for piece in pieces if piece.page is not None]
        if good:
            try:
                self._source.converters.submit(self._parse, good)
            except BaseException as failure:
                self._events.put(_Parsed(good, failure=failure))

    def _parse(self, pieces: Sequence[_Piece[K]]) -> None:
        try:
            bodies = [piece.page.body for piece in pieces if piece.page is not None]
            parsed, lengths = self._parser.answers(bodies, self._notes)
            starts = np.concatenate(([0], np.cumsum(lengths.to_numpy()))).tolist()
            items = [parsed.slice(start, end - start) for start, end in itertools.pairwise(starts)]
            self._events.put(_Parsed(pieces, items))
        except BaseException as failure:
            self._events.put(_Parsed(pieces, failure=failure))

    # ---- in the reader's thread --------------------------------------------------------------

    def _advance(self, back: _Back[K]) -> Iterator[Answered[K]]:
        """Go on with the reads whose pages arrived; those that ended in an error are the result."""
        for read, piece in zip(back.batch, back.pieces, strict=True):
            progress = self._reads.get(read.key)
            if progress is None:
                progress = _Progress(read.url, Walk(read.url), Answered(read.key, []))
                self._reads[read.key] = progress
            try:
                self._follow(read, progress, piece)
            except GraphError as error:
                if isinstance(error, AuthenticationError):
                    raise
                progress.result.error = error
                progress.ended = True
            if progress.ended:
                del self._reads[read.key]
                yield from self._whole(progress)

    def _follow(self, read: Read[K], progress: _Progress[K], piece: _Piece[K]) -> None:
        """Go on where a page points. Raises GraphError."""
        if isinstance(piece.error, PageTokenExpiredError) and progress.restarts < MAX_RESTARTS:
            self._notes.add(RESTARTED)
            self._reads[read.key] = _Progress(
                progress.first,
                Walk(progress.first),
                Answered(read.key, []),
                restarts=progress.restarts + 1,
            )
            self._plan.proceed(read, progress.first, read.pages_left)
            return
        if piece.error is not None:
            raise piece.error
        if piece.page is None:
            raise RuntimeError("a piece has either a page or an error")
        progress.pages += 1
        progress.unparsed += 1
        piece.progress = progress
        result = progress.result
        if result.expected is None:
            result.expected = piece.page.count
        link = progress.walk.advance(piece.page)
        if link is None:
            piece.is_last = progress.ended = True
            return
        left = 1
        if result.expected is not None:
            left = -(-result.expected // int(PAGE)) - progress.pages
        self._plan.proceed(read, self._source.client.origin.relative(link), left)

    def _fill(self, parsed: _Parsed[K]) -> Iterator[Answered[K]]:
        """Hand the items to their reads."""
        for piece, items in zip(parsed.pieces, parsed.items, strict=True):
            progress = piece.progress
            if progress is None:
                continue
            progress.unparsed -= 1
            # One that waits for further pages: a slice would keep its whole batch in memory.
            progress.result.items.append(items if piece.is_last else copied(items))
            yield from self._whole(progress)

    def _whole(self, progress: _Progress[K]) -> Iterator[Answered[K]]:
        """The result of a read that ended, once all its pages are in."""
        if not progress.ended or progress.unparsed:
            return
        if isinstance(progress.result.error, NotFoundError):
            self._notes.add(VANISHED)
        else:
            yield progress.result


def _decoded(result: BatchResult, read: Read[K]) -> _Piece[K]:
    try:
        if result.error is not None:
            raise result.error
        return _Piece(page=decode_page(result.body, path=read.url))
    except GraphError as error:
        return _Piece(error=error)
