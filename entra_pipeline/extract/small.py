"""Small lists that are read whole every time: their first pages in one round trip.

Here: the batch, and what of it can be used. Not here: which lists are small and what their rows
are (`readers.lists`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from entra_pipeline.extract.arrow import Structs
from entra_pipeline.extract.job import Job
from entra_pipeline.extract.notes import Notes
from entra_pipeline.extract.source import Listing
from entra_pipeline.msgraph import BatchItem, GraphError, decode_page
from entra_pipeline.msgraph.batch import MAX_ITEMS

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Small:
    """One list: the table it is for, and what is asked for, without parser and priority."""

    table: str
    path: str
    params: Mapping[str, str]

    @property
    def url(self) -> str:
        """As an item of a batch names it."""
        query = "&".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.path}?{query}" if query else self.path


def read_small(
    job: Job,
    all_small: Mapping[str, Small],
    key: str,
    listing: Listing,
    notes: Notes,
    convert: Callable[[Structs], T],
    arrived: Callable[[T], None],
) -> list[T]:
    """As `Source.read`, of one of several small lists; the first who asks fetches for all.

    A list that fails, or has more than one page, is read by itself.
    """
    pages = job.feeds.once("small lists", lambda: _first_pages(job, all_small))
    if key not in pages:
        return job.source.read(listing, notes, convert, arrived)
    page = convert(listing.parser.page(pages[key], notes))
    arrived(page)
    return [page]


def _first_pages(job: Job, all_small: Mapping[str, Small]) -> dict[str, bytes]:
    """By key, the bodies of lists that are whole on their first page.

    Nothing in a full read, and nothing of tables that were never read: how large those lists
    are is not known.
    """
    chosen = {
        key: small
        for key, small in all_small.items()
        if job.wants(small.table) and job.feeds.committed(small.table)
    }
    if job.feeds.full or not 1 < len(chosen) <= MAX_ITEMS:
        return {}
    items = [BatchItem(key, small.url) for key, small in chosen.items()]
    label = next(iter(chosen.values())).table
    try:
        answers = job.source.turns.call(
            job.priority, lambda: job.source.client.batch(items, table=label)
        )
    except GraphError as error:
        log.info("small lists are read one by one (%s)", error)
        return {}
    pages: dict[str, bytes] = {}
    for answer in answers:
        try:
            if answer.error is not None:
                raise answer.error
            if decode_page(answer.body, path=chosen[answer.id].path).next_link is None:
                pages[answer.id] = answer.body
        except GraphError as error:
            log.info("%s is read by itself (%s)", chosen[answer.id].table, error)
    return pages
