"""Tables that no feed of Graph's tells of: which of their rows to read again, and the reading.

Here: what the directory's audits point at, what fell due by itself, and which rows name an object
that came or went. Not here: the audits (`hints`), tables with a feed (`increments`), and the full
reads (`readers`).

A hint is only a reason to read again. What is read replaces all rows of the object it was read
for, so a hint too many costs a request and changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from entra_pipeline.extract import mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import DoubtError, WholeError
from entra_pipeline.extract.increments import stored
from entra_pipeline.extract.job import Amendment, Job
from entra_pipeline.extract.nested import read_each
from entra_pipeline.extract.notes import Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.msgraph import Service
from entra_pipeline.msgraph.batch import MAX_ITEMS

_TEXT = pa.string()
TIMES = ("start_date_time", "end_date_time")


def together(arrays: Iterable[Array]) -> Array:
    """The ids in any of the arrays, each once."""
    ids: Array = pc.unique(pa.concat_arrays([pa.array([], _TEXT), *arrays]))
    return ids.drop_null()


def naming(job: Job, name: str, column: str, ids: Array, owner: str) -> Array:
    """Owners of the committed rows in which a column holds one of the ids."""
    return _texts(stored(job, name, column, ids, (owner,)), owner)


def due(job: Job, name: str, owner: str) -> Array:
    """Owners of the committed rows that began or ended since the table was last read.

    Nothing else announces that. Graph's clock may differ from ours and its clean-up take a while:
    what fell due shortly before counts again.
    """
    late = timedelta(minutes=job.settings.activity_overlap_minutes)
    after, until = job.feeds.before(name) - late, datetime.now(UTC)
    rows = job.lake.read(name, (owner, *TIMES))
    found = [
        _texts(rows.filter((pc.field(time) > after) & (pc.field(time) <= until)), owner)
        for time in TIMES
    ]
    return together(found)


def read_again(
    job: Job,
    name: str,
    owner: str,
    ids: Array,
    url: Callable[[str], str],
    compute: Callable[[Structs, Notes], Mapping[str, Array]],
    *,
    gone: Array | None = None,
    service: Service = Service.DIRECTORY,
) -> Amendment:
    """The amendment that reads the rows of some owners again.

    `owner`: the column of their ids; `gone`: ids of owners whose rows go unread. Raises
    DoubtError when Graph refuses one.
    """
    table, notes = job.table(name), job.notes(name)
    nobody: Array = pa.array([], _TEXT)
    gone = nobody if gone is None else gone
    ids = ids.filter(pc.invert(pc.is_in(ids, value_set=gone)))
    batches, partial = read_each(
        job,
        name,
        PageParser(mapping.shape(table)),
        ((key, url(key)) for key in ids.to_pylist()),
        lambda _, items: mapping.rows(table, items, notes, compute(items, notes)),
        service=service,
    )
    if partial is not None:
        raise DoubtError(partial.reason)
    rows = pa.Table.from_batches(batches, schema=table.schema())
    within = pa.concat_arrays([ids, gone])
    info = job.lake.info(name)
    if info is not None and len(within):
        former = stored(job, name, owner, within, (owner,)).num_rows
        if job.doubts(name, info.rows - former + rows.num_rows):
            raise DoubtError(f"{former - rows.num_rows} of {info.rows} rows of {name} are gone")
    return Amendment(name, rows, within=(owner, within) if len(within) else None)


def role_assignable(job: Job, ids: Array) -> Array:
    """Those of the ids that are of role-assignable groups, by the table and its latest round.

    Raises DoubtError when the table was never read.
    """
    if job.lake.info("groups") is None:
        raise DoubtError("which groups are role-assignable was never read")
    column = "is_assignable_to_role"
    known = stored(job, "groups", "id", ids, ("id", column))
    found = job.round("groups").items
    special = [
        known.column("id").filter(pc.equal(known.column(column), True)).combine_chunks(),
        pc.struct_field(found, "id").filter(
            pc.equal(pc.struct_field(found, "isAssignableToRole"), True).fill_null(False)
        ),
    ]
    return ids.filter(pc.is_in(ids, value_set=pa.concat_arrays(special)))


def worthwhile(job: Job, name: str, ids: Array, page: int) -> None:
    """Raise WholeError when the whole table, in pages of so many rows, is read as quickly."""
    info = job.lake.info(name)
    rows = 0 if info is None else info.rows
    if len(ids) and -(-len(ids) // MAX_ITEMS) >= max(1, -(-rows // page)):
        raise WholeError(f"{len(ids)} objects of {name} may have changed")


def _texts(rows: pa.Table, column: str) -> Array:
    return rows.column(column).combine_chunks().cast(_TEXT)
