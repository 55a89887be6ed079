"""Many paged reads at once, in full batches.

Here: sending what the plan says, reading the answers, following next links. Not here: the order
(`plan`) and the meaning of what is read (the readers).
"""

import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

import pyarrow as pa

from entra_pipeline.extract.arrow import Structs
from entra_pipeline.extract.notes import RESTARTED, VANISHED, Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.plan import K, Plan, Read
from entra_pipeline.extract.source import PAGE, Source
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
    """What is known of a read under way."""

    first: str
    walk: Walk
    result: Answered[K]
    restarts: int = 0


@dataclass
class _Piece:
    """The answer to one item of a batch."""

    page: Page | None = None
    items: Structs | None = None
    error: GraphError | None = None


@dataclass
class _Back(Generic[K]):
    """A batch that came back, or failed as a whole."""

    batch: Sequence[Read[K]]
    pieces: list[_Piece] = field(default_factory=list)
    failure: BaseException | None = None


def copied(items: Structs) -> Structs:
    """The items without what they are a slice of."""
    return items.take(pa.array(range(len(items)), pa.int32()))


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
        self._events: queue.SimpleQueue[list[Read[K]] | _Back[K] | int | None] = queue.SimpleQueue()
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
            while not plan.finished():
                while batch := plan.next_batch():
                    self._dispatch(batch)
                if plan.finished():
                    break
                event = self._events.get()
                if event is None:
                    plan.close()
                elif isinstance(event, int):
                    plan.longest_expected = event
                elif isinstance(event, _Back):
                    plan.answered(event.batch)
                    if event.failure is not None:
                        raise event.failure
                    yield from self._advance(event)
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

    def _drain(self) -> None:
        """Wait for the batches in flight: nobody may use the executor after the reader ended."""
        while self._plan.in_flight:
            event = self._events.get()
            if isinstance(event, _Back):
                self._plan.answered(event.batch)

    # ---- in the fetching and parsing threads -------------------------------------------------

    def _send(self, batch: Sequence[Read[K]]) -> None:
        items = [
            BatchItem(str(position), read.url, self._headers) for position, read in enumerate(batch)
        ]
        try:
            results = self._source.client.batch(items, table=self._table, service=self._service)
            self._source.converters.submit(self._parse, batch, results)
        except BaseException as failure:
            self._events.put(_Back(batch, failure=failure))

    def _parse(self, batch: Sequence[Read[K]], results: list[BatchResult]) -> None:
        try:
            self._events.put(_Back(batch, self._pieces(batch, results)))
        except BaseException as failure:
            self._events.put(_Back(batch, failure=failure))

    def _pieces(self, batch: Sequence[Read[K]], results: list[BatchResult]) -> list[_Piece]:
        pieces = []
        for result, read in zip(results, batch, strict=True):
            try:
                if result.error is not None:
                    raise result.error
                pieces.append(_Piece(page=decode_page(result.body, path=read.url)))
            except GraphError as error:
                pieces.append(_Piece(error=error))
        good = [piece for piece in pieces if piece.page is not None]
        if good:
            bodies = [piece.page.body for piece in good if piece.page is not None]
            parsed, lengths = self._parser.answers(bodies, self._notes)
            start = 0
            for piece, length in zip(good, lengths.to_pylist(), strict=True):
                piece.items = parsed.slice(start, length)
                start += length
        return pieces

    # ---- in the reader's thread --------------------------------------------------------------

    def _advance(self, back: _Back[K]) -> Iterator[Answered[K]]:
        for read, piece in zip(back.batch, back.pieces, strict=True):
            progress = self._reads.get(read.key)
            if progress is None:
                progress = _Progress(read.url, Walk(read.url), Answered(read.key, []))
                self._reads[read.key] = progress
            try:
                finished = self._take(read, progress, piece)
            except GraphError as error:
                if isinstance(error, AuthenticationError):
                    raise
                progress.result.error = error
                finished = True
            if finished:
                del self._reads[read.key]
                if not isinstance(progress.result.error, NotFoundError):
                    yield progress.result
                else:
                    self._notes.add(VANISHED)

    def _take(self, read: Read[K], progress: _Progress[K], piece: _Piece) -> bool:
        """Add a page to its read; whether it was the last. Raises GraphError."""
        result = progress.result
        if isinstance(piece.error, PageTokenExpiredError) and progress.restarts < MAX_RESTARTS:
            progress.restarts += 1
            progress.walk = Walk(progress.first)
            progress.result = Answered(read.key, [])
            self._notes.add(RESTARTED)
            self._plan.proceed(read, progress.first, read.pages_left)
            return False
        if piece.error is not None:
            raise piece.error
        page, items = piece.page, piece.items
        if page is None or items is None:
            raise RuntimeError("a piece has either a page with items or an error")
        if result.expected is None:
            result.expected = page.count
        link = progress.walk.advance(page)
        if link is None:
            result.items.append(items)
            return True
        # It will wait for the next pages: a slice would keep its whole batch in memory.
        result.items.append(copied(items))
        left = 1
        if result.expected is not None:
            left = -(-(result.expected - result.size) // int(PAGE))
        self._plan.proceed(read, self._source.client.origin.relative(link), left)
        return False
