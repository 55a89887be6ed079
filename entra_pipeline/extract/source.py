"""Microsoft Graph as the readers of one extraction see it.

Here: lists read whole and converted page by page while the next page is on its way, and the
comparison with Graph's own count. Not here: many small reads at once (`fanout`), and what is
asked for (the readers).
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.notes import REREAD, RESTARTED, Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.extract.turns import Turns
from entra_pipeline.msgraph import GraphClient, Page, Service

PAGE = "999"
"""Largest `$top` of directory collections.
Source: https://learn.microsoft.com/graph/api/user-list#optional-query-parameters"""

PACED = frozenset({Service.REPORTS, Service.SIGN_IN_ACTIVITY, Service.CONDITIONAL_ACCESS})
"""Services that allow less than a request a second."""

AHEAD = 1
"""Pages that may wait to be converted: bounds the JSON held in memory."""

T = TypeVar("T")


class IncompleteError(Exception):
    """Graph's answers contradict each other: the list did not arrive whole. The text says how."""


@dataclass(frozen=True)
class Listing:
    """One collection to read: what is asked for and how its pages are parsed.

    `table` is whom the requests are counted for. `priority`: lower goes first.
    """

    path: str
    params: Mapping[str, str]
    parser: PageParser
    table: str
    service: Service = Service.DIRECTORY
    eventual: bool = False
    priority: int = 5


class Source:
    """The client behind the extraction's turns. Safe for many threads.

    `converters`: the threads in which answers are parsed.
    """

    def __init__(self, client: GraphClient, turns: Turns, converters: Executor) -> None:
        self.client = client
        self.turns = turns
        self.converters = converters

    def pages(self, listing: Listing) -> Iterator[Page]:
        """The pages as they arrive."""
        pages = iter(
            self.client.pages(
                listing.path,
                listing.params,
                table=listing.table,
                service=listing.service,
                eventual=listing.eventual,
            )
        )
        while (page := self._next(pages, listing)) is not None:
            yield page

    def _next(self, pages: Iterator[Page], listing: Listing) -> Page | None:
        if listing.service in PACED:
            # The client waits for these; a turn held meanwhile would be one less for the others.
            self.turns.check()
            return next(pages, None)
        return self.turns.call(listing.priority, next, pages, None)

    def read(
        self,
        listing: Listing,
        notes: Notes,
        convert: Callable[[Structs], T],
        arrived: Callable[[T], None] = lambda _: None,
    ) -> list[T]:
        """The whole collection, each page's items through `convert`, in Graph's order.

        `convert` runs in other threads; `arrived` is called here, page by page. When Graph makes
        the collection start again, what came before is dropped (but `arrived` was told of it).
        """
        done: list[T] = []
        pending: deque[Future[T]] = deque()
        generation = 0

        def converted(body: bytes) -> T:
            return convert(listing.parser.page(body, notes))

        def settle(left: int) -> None:
            while len(pending) > left:
                result = pending.popleft().result()
                done.append(result)
                arrived(result)

        try:
            for page in self.pages(listing):
                if page.generation != generation:
                    generation = page.generation
                    notes.add(RESTARTED)
                    settle(0)
                    done.clear()
                pending.append(self.converters.submit(converted, page.body))
                del page
                settle(AHEAD)
            settle(0)
        finally:
            for future in pending:
                future.cancel()
        return done

    def read_counted(
        self,
        listing: Listing,
        notes: Notes,
        convert: Callable[[Structs], T],
        size: Callable[[list[T]], int],
        *,
        expected: Callable[[int], None] = lambda _: None,
        arrived: Callable[[T], None] = lambda _: None,
    ) -> list[T]:
        """The whole collection, compared with Graph's `$count` of it.

        `size`: how many different objects the converted pages hold. The directory changes while
        it is read, so it may be as few as the lower of the counts before and after; and Graph
        counts in an index that lags behind the directory, so more than it counts is no sign of
        a loss. A contradiction is read once more and then raises IncompleteError. Where Graph
        cannot count, none is possible.
        Source: https://learn.microsoft.com/graph/aad-advanced-queries (eventual consistency)
        """
        before = self.count(listing)
        if before is not None:
            expected(before)
        pages = self.read(listing, notes, convert, arrived)
        for last in (False, True):
            found = size(pages)
            if before is None or found >= before:
                return pages
            after = self.count(listing)
            if after is None or found >= after:
                return pages
            if last:
                break
            notes.add(REREAD)
            before = after
            pages.clear()
            pages = self.read(listing, notes, convert, arrived)
        raise IncompleteError(
            f"{listing.path} listed {found} objects, read twice, but Graph counts {after}"
        )

    def read_listed(
        self,
        listing: Listing,
        notes: Notes,
        convert: Callable[[Structs], T],
        arrived: Callable[[T], None] = lambda _: None,
        listed: Callable[[], int | None] | None = None,
    ) -> list[T]:
        """As `read_counted`, for pages that no longer show of how many objects they are.

        A list that is read for what hangs on its objects is as easily cut short as any other.
        `listed` says afterwards how many objects another list of the same collection had, None
        if it failed: when this one has as many, Graph is not asked for its count.
        """

        def with_ids(items: Structs) -> tuple[Array, T]:
            return pc.struct_field(items, "id"), convert(items)

        def size(pages: list[tuple[Array, T]]) -> int:
            ids = pa.chunked_array([page[0] for page in pages], pa.string())
            return int(pc.count_distinct(ids).as_py())

        def tell(page: tuple[Array, T]) -> None:
            arrived(page[1])

        if listed is not None:
            pages = self.read(listing, notes, with_ids, tell)
            others = listed()
            if others is not None and size(pages) >= others:
                return [page[1] for page in pages]
            notes.add(REREAD)
        pages = self.read_counted(listing, notes, with_ids, size, arrived=tell)
        return [page[1] for page in pages]

    def count(self, listing: Listing) -> int | None:
        """Graph's count of the collection; None where it does not count."""
        params = {k: v for k, v in listing.params.items() if k == "$filter"}
        return self.turns.call(
            listing.priority, self.client.count, listing.path, params or None, table=listing.table
        )
