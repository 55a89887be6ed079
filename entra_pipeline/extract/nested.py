"""Relations: what a listing shows of them by `$expand`, and the rest read object by object.

Here: the split of a page into relations shown whole and relations cut off at Graph's limit, and
the fan-out over the latter. Not here: which relations there are (the readers).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.fanout import Answered, FanOut, joined
from entra_pipeline.extract.job import Job, Partial
from entra_pipeline.extract.mapping import rows
from entra_pipeline.extract.notes import REFUSED, Notes
from entra_pipeline.extract.parse import ODATA_TYPE, PageParser
from entra_pipeline.extract.plan import Read
from entra_pipeline.extract.values import kinds
from entra_pipeline.msgraph import GraphError, Service
from entra_pipeline.msgraph.errors import (
    BadRequestError,
    ForbiddenError,
    UnlicensedError,
    UnsupportedError,
)
from entra_pipeline.tables import Table

EXPANDED = 20
"""Most objects that `$expand` shows of a relationship; a next link for the rest does not come.
Source: https://learn.microsoft.com/graph/query-parameters#expand"""


TOGETHER = 1 << 14
"""Items of several objects that are converted at once: a step on ten columns costs as much for
ten rows as for a thousand, and most objects have few."""


@dataclass(frozen=True)
class Split:
    """A page's relations: the structs shown whole with their owners' ids, and who shows no more.

    `cut`: ids of the objects whose relation reaches the limit, so that there may be more, or is
    not shown at all.
    """

    owners: Array
    items: Structs
    cut: Array


def split(objects: Structs, relation: str) -> Split:
    """What a page shows of a relationship that was asked for by `$expand`."""
    ids = pc.struct_field(objects, "id")
    lists = pc.struct_field(objects, relation)
    # A list that is absent says nothing: not that it is empty.
    is_cut = pc.greater_equal(lists.value_lengths(), EXPANDED).fill_null(True)
    parents = pc.list_parent_indices(lists)
    items = lists.flatten()
    if pc.any(is_cut).as_py():
        shown = pc.invert(is_cut.take(parents))
        items, parents = items.filter(shown), parents.filter(shown)
    return Split(ids.take(parents), items, ids.filter(is_cut))


def link_rows(table: Table, owners: Array, links: Structs, notes: Notes) -> pa.RecordBatch:
    """Rows of a relation table: its three columns are the owner's id, the other's id and kind."""
    owner, other, kind = (column.name for column in table.columns)
    types = pc.struct_field(links, ODATA_TYPE)
    return rows(
        table,
        links,
        notes,
        {owner: owners, other: pc.struct_field(links, "id"), kind: kinds(types, notes)},
    )


def read_each(
    job: Job,
    name: str,
    parser: PageParser,
    urls: Iterable[tuple[str, str]],
    convert: Callable[[Array, Structs], pa.RecordBatch],
    *,
    service: Service = Service.DIRECTORY,
) -> tuple[list[pa.RecordBatch], Partial | None]:
    """Read one collection for each (id, relative URL); and what was refused, if anything.

    `convert`: rows from the ids and the items, both of one length; called for several objects at
    a time. Raises the error of an object that failed otherwise: then nothing can be called whole.
    """
    fan: FanOut[str] = FanOut(
        job.source,
        parser,
        job.notes(name),
        table=job.label(name),
        service=service,
        priority=job.priority,
    )
    fan.add(Read(key, url) for key, url in urls)
    fan.close()
    refusals = Refusals()
    good = 0
    together: list[Answered[str]] = []
    batches: list[pa.RecordBatch] = []

    def settle() -> None:
        items, owners = joined(together, parser.item)
        keys = pa.array([answer.key for answer in together], pa.string())
        if len(items):
            batches.append(convert(keys.take(pa.array(owners, pa.int64())), items))
        together.clear()

    waiting = 0
    for answer in fan.results():
        if refusals.is_good(answer, job.notes(name)):
            job.counted(name, answer.size)
            good += 1
            together.append(answer)
            waiting += answer.size
            if waiting >= TOGETHER:
                settle()
                waiting = 0
    settle()
    return batches, refusals.partial(good)


REFUSALS = (ForbiddenError, UnlicensedError, UnsupportedError, BadRequestError)
"""Errors that asking again does not mend. One object of that kind would otherwise keep its whole
table at the state of yesterday, sync after sync; what passes by itself is worth waiting for."""


class Refusals:
    """Objects that Graph refuses to show while it shows others."""

    def __init__(self) -> None:
        self._first: GraphError | None = None
        self._count = 0

    def is_good(self, answer: Answered[str], notes: Notes) -> bool:
        """Whether the read succeeded; a refusal is remembered, any other error raised."""
        if answer.error is None:
            return True
        if not isinstance(answer.error, REFUSALS):
            raise answer.error
        self._first = self._first or answer.error
        self._count += 1
        notes.add(REFUSED)
        return False

    def partial(self, good: int) -> Partial | None:
        """Why the table is partial; None when nothing was refused. Raises when all was."""
        if self._first is None:
            return None
        if not good:
            raise self._first
        return Partial(f"Graph refuses {self._count} objects, the first with {self._first}")


def relation(
    job: Job,
    name: str,
    shown: list[pa.RecordBatch],
    cut: Iterable[str],
    url: Callable[[str], str],
    parser: PageParser,
    convert: Callable[[Array, Structs], pa.RecordBatch],
    partial: Partial | None = None,
) -> None:
    """Publish a relation table: rows that listings showed, and the cut ones read in full.

    `convert`: rows from the owners' ids and the items, both of one length. `partial`: what is
    known to be missing beforehand.
    """
    unread = dict.fromkeys(cut)
    read, refused = read_each(job, name, parser, ((key, url(key)) for key in unread), convert)
    job.publish(name, [*shown, *read], partial=both(partial, refused))


def both(first: Partial | None, second: Partial | None) -> Partial | None:
    """Two reasons for missing objects as one."""
    if first is None or second is None:
        return first or second
    return Partial(f"{first.reason}; {second.reason}", first.permission or second.permission)
