"""What rounds of changes mean for the rows of tables.

Here: from rounds, and what is stored, to the rows that come and go; and the reads that rounds
leave open, because Graph announces no links of an object that was deleted or restored. Not here:
the rounds (`delta`), and the full reads (`readers`).

Whatever does not add up raises DoubtError: the tables are then read in full.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from entra_pipeline.extract import mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.delta import DoubtError, Round
from entra_pipeline.extract.followed import FOLLOWED
from entra_pipeline.extract.job import Amendment, Job
from entra_pipeline.extract.nested import read_each, split
from entra_pipeline.extract.parse import ODATA_TYPE, PageParser
from entra_pipeline.extract.source import PAGE
from entra_pipeline.extract.values import KIND, kind_of, kinds

_TEXT = pa.string()
_SEGMENTS = {
    "users": "users",
    "groups": "groups",
    "service_principals": "servicePrincipals",
    "applications": "applications",
    "devices": "devices",
}
_KIND_OF = {
    "applications": "application",
    "devices": "device",
    "users": "user",
    "groups": "group",
    "service_principals": "service_principal",
    "administrative_units": "administrative_unit",
}
_OWN = pa.struct([("object", _TEXT), ("link", mapping.LINK)])
_VALUES = 15
"""Values that Graph takes in one filter."""
_LINKED = pa.schema([("owner", _TEXT), ("other", _TEXT), ("kind", _TEXT)])


def stored(
    job: Job, name: str, column: str, values: Array, columns: Sequence[str] | None = None
) -> pa.Table:
    """The committed rows whose column is among the values."""
    table = job.table(name)
    schema = table.schema()
    chosen = list(columns or schema.names)
    empty = pa.schema([schema.field(each) for each in chosen]).empty_table()
    files = job.lake.files(name) if len(values) else []
    if not files:
        return empty
    rows = ds.dataset(files, schema=schema, format="parquet")
    return rows.to_table(columns=chosen, filter=pc.field(column).isin(values)).cast(empty.schema)


def removed_rows(job: Job, name: str, found: Round) -> pa.Table | None:
    """The `deletes` of a table of objects, after a look at how many they are.

    Raises DoubtError when so many went that a list that short would not be believed.
    """
    gone = stored(job, name, "id", found.removed, ("id",)).num_rows
    info = job.lake.info(name)
    if info is not None and gone and job.doubts(name, info.rows - gone):
        raise DoubtError(f"{gone} of {info.rows} rows of {name} are said to be gone")
    return pa.table({"id": found.removed}) if len(found.removed) else None


def objects(job: Job, name: str, found: Round, rows: pa.RecordBatch) -> Amendment:
    """The amendment of a table of objects whose rows follow from a round alone."""
    return Amendment(
        name,
        pa.Table.from_batches([rows], schema=job.table(name).schema()),
        deletes=removed_rows(job, name, found),
    )


# ---- links of objects that came or went --------------------------------------------------------


def gone(job: Job, feeds: Iterable[str]) -> Array:
    """The ids of principals that are gone, in the recycle bin or for good.

    Links to those in the recycle bin stay in Graph's books, unannounced, but show in no list.
    """
    return _together([job.round(feed).removed for feed in feeds])


def strangers(job: Job, feed: str, links: pa.Table) -> Array:
    """Ids that links name, of a feed's kind, although no object that is there has them.

    Links may be told again after the object has gone, or before it shows.
    """
    named = links.filter(pc.equal(links.column("kind"), _KIND_OF[feed])).column("other")
    named = pc.unique(named.combine_chunks())
    known = stored(job, feed, "id", named, ("id",)).column("id").combine_chunks()
    there = _together([known, job.round(feed).ids])
    return named.filter(pc.invert(pc.is_in(named, value_set=there)))


def holders(
    job: Job, name: str, feed: str, relationship: str, kind: str, unsure: Array
) -> pa.Table:
    """What holds the objects that came (back), and those `unsure` of: owner, other, kind.

    `owner` is the holder; `relationship`: where Graph shows it from the objects' own side, such
    as memberOf; `kind`: which kind of holder counts; the result's `kind` is that of the objects.
    """
    fresh = job.fresh(feed)
    others = unsure.filter(pc.invert(pc.is_in(unsure, value_set=fresh)))
    if not len(fresh) and not len(others):
        return _LINKED.empty_table()

    def came() -> Structs:
        return _own_side(job, name, feed, relationship, fresh)

    links = pa.concat_arrays(
        [
            job.feeds.once(f"{relationship} of {feed}", came),
            _own_side(job, name, feed, relationship, others),
        ]
    )
    types = pc.struct_field(links.field("link"), ODATA_TYPE).dictionary_encode()
    named = [kind_of(text) == kind for text in types.dictionary.to_pylist()]
    is_kind = pa.array(named, pa.bool_()).take(types.indices).fill_null(False)
    links = links.filter(is_kind)
    return pa.table(
        {
            "owner": pc.struct_field(links.field("link"), "id"),
            "other": links.field("object"),
            "kind": pa.array([_KIND_OF[feed]] * len(links), _TEXT),
        },
        schema=_LINKED,
    )


def _of_known(job: Job, feed: str, links: pa.Table) -> pa.Table:
    """The links of owners that are there; one that is newer than the round comes with the next."""
    if not links.num_rows or not job.feeds.wants(feed):
        return links
    known = stored(job, feed, "id", links.column("owner").combine_chunks(), ("id",))
    there = _together([known.column("id").combine_chunks(), job.round(feed).ids])
    return links.filter(pc.is_in(links.column("owner"), value_set=there))


def _without_gone(links: pa.Table, owners: Array, others: Array) -> pa.Table:
    """The links that have neither a gone owner nor a gone other end."""
    is_gone = pc.or_(
        pc.is_in(links.column("owner"), value_set=owners),
        pc.is_in(links.column("other"), value_set=others),
    )
    return links.filter(pc.invert(is_gone))


def _own_side(job: Job, name: str, feed: str, relationship: str, ids: Array) -> Structs:
    """(object, link) for each link of each object that is there."""
    empty = pa.array([], _OWN)
    if not len(ids):
        return empty
    found, unread = _shown(job, name, feed, relationship, ids.to_pylist())

    def convert(owners: Array, items: Structs) -> pa.RecordBatch:
        return pa.record_batch({"object": owners, "link": items})

    urls = (
        (key, f"/{_SEGMENTS[feed]}/{key}/{relationship}?$select=id&$top={PAGE}") for key in unread
    )
    batches, partial = read_each(job, name, PageParser(mapping.LINK), urls, convert)
    if partial is not None:
        raise DoubtError(partial.reason)
    read = [batch.to_struct_array().cast(_OWN) for batch in batches]
    return pa.concat_arrays([empty, *found, *read])


def _shown(
    job: Job, name: str, feed: str, relationship: str, ids: list[str]
) -> tuple[list[Structs], list[str]]:
    """The links of objects that show all of them by `$expand`, and the ids of the others.

    Fifteen objects a request: a filter takes no more values.
    Source: https://learn.microsoft.com/graph/filter-query-parameter
    """
    chunks = ["','".join(ids[start : start + _VALUES]) for start in range(0, len(ids), _VALUES)]
    parser = PageParser(pa.struct([("id", _TEXT), (relationship, mapping.LINKS)]))
    asked = f"/{_SEGMENTS[feed]}?$select=id&$expand={relationship}($select=id)"
    batches, partial = read_each(
        job,
        name,
        parser,
        ((chunk, f"{asked}&$filter=id in ('{chunk}')") for chunk in chunks),
        lambda _, items: pa.RecordBatch.from_struct_array(items),
    )
    if partial is not None:
        return [], ids
    found: list[Structs] = []
    unread: list[str] = []
    for batch in batches:
        part = split(batch.to_struct_array(), relationship)
        unread += part.cut.to_pylist()
        fields = [part.owners, part.items]
        found.append(pa.StructArray.from_arrays(fields, names=["object", "link"]).cast(_OWN))
    return found, unread


def relation(
    job: Job, name: str, feed: str, relationship: str, back: str, principals: Sequence[str]
) -> Amendment:
    """The amendment of a relation table: announced links, and those that go unannounced.

    `feed` owns the `relationship`; `back` is the same from the side of the `principals` (feeds).
    """
    table = job.table(name)
    owner, other, kind = (column.name for column in table.columns)
    # The order counts: what is gone must have been known before its last links are.
    missing = gone(job, principals)
    found = job.round(feed)
    links = found.links[relationship]
    announced = links.filter(pc.invert(links.column("gone")))
    types = announced.column("type").combine_chunks()
    added = pa.Table.from_pydict(
        {
            "owner": announced.column("owner"),
            "other": announced.column("other"),
            "kind": kinds(types, job.notes(name)).cast(_TEXT),
        },
        schema=_LINKED,
    )
    own: list[pa.Table] = []
    for each in principals:
        unsure = strangers(job, each, added)
        added = added.filter(pc.invert(pc.is_in(added.column("other"), value_set=unsure)))
        own.append(holders(job, name, each, back, _KIND_OF[feed], unsure))
    restored = _of_known(job, feed, pa.concat_tables(own))
    # Read later than the round was, so it has the last word.
    rows = _without_gone(pa.concat_tables([added, restored]), found.removed, missing)
    ended = (
        links.filter(links.column("gone")).select(["owner", "other"]).rename_columns([owner, other])
    )
    unannounced = stored(job, name, other, missing, (owner, other))
    deletes = pa.concat_tables([ended.cast(unannounced.schema), unannounced])
    info = job.lake.info(name)
    if info is not None and deletes.num_rows and job.doubts(name, info.rows - deletes.num_rows):
        raise DoubtError(f"{deletes.num_rows} of {info.rows} rows of {name} are said to be gone")
    upserts = pa.table(
        [rows.column("owner"), rows.column("other"), rows.column("kind").cast(KIND)],
        names=[owner, other, kind],
    ).cast(table.schema())
    return Amendment(
        name,
        upserts,
        deletes=deletes if deletes.num_rows else None,
        within=(owner, found.removed) if len(found.removed) else None,
    )


def unannounced(
    job: Job,
    name: str,
    feed: str,
    relationship: str,
    back: Mapping[str, str],
    touched: Array,
) -> Amendment:
    """The amendment of a relation table whose links no feed tells.

    Those of the objects in `touched` are read again, with those of whoever came back. `feed` owns
    the `relationship`; `back` is the same from the side of the principals, by their feeds.
    """
    table = job.table(name)
    owner, other, kind = (column.name for column in table.columns)
    found = job.round(feed)
    missing = gone(job, [each for each in FOLLOWED[name] if each != feed or feed in back])
    alive = pc.unique(touched)
    alive = alive.filter(pc.invert(pc.is_in(alive, value_set=found.removed)))
    read = _own_side(job, name, feed, relationship, alive)
    links = read.field("link")
    rows = pa.table(
        {
            "owner": read.field("object"),
            "other": pc.struct_field(links, "id"),
            "kind": kinds(pc.struct_field(links, ODATA_TYPE), job.notes(name)).cast(_TEXT),
        },
        schema=_LINKED,
    )
    nobody: Array = pa.array([], _TEXT)
    held = [holders(job, name, each, there, _KIND_OF[feed], nobody) for each, there in back.items()]
    came = _of_known(job, feed, pa.concat_tables([_LINKED.empty_table(), *held]))
    rows = _without_gone(pa.concat_tables([rows, came]), found.removed, missing)
    ended = stored(job, name, other, missing, (owner, other))
    within = _together([alive, found.removed])
    upserts = pa.table(
        [rows.column("owner"), rows.column("other"), rows.column("kind").cast(KIND)],
        names=[owner, other, kind],
    ).cast(table.schema())
    return Amendment(
        name,
        upserts,
        deletes=ended if ended.num_rows else None,
        within=(owner, within) if len(within) else None,
    )


def said(job: Job, name: str, column: str, ids: Array, lists: Array) -> None:
    """Raise DoubtError when objects that have rows in a table came without saying so.

    `lists`: of each object what the rows are made of; an absent list is not an empty one.
    """
    unsaid = ids.filter(lists.is_null())
    if stored(job, name, column, unsaid, (column,)).num_rows:
        raise DoubtError(f"objects with {name} came without them")


# ---- users -------------------------------------------------------------------------------------


def managers(job: Job, rows: pa.Table) -> pa.Table:
    """The changed rows of users with their managers, and the rows whose manager came or went.

    `rows`: the users of the round, `manager_id` still empty.
    """
    found = job.round("users")
    manager: dict[Any, str | None] = dict.fromkeys(rows.column("id").to_pylist())
    former = stored(job, "users", "id", found.ids, ("id", "manager_id"))
    manager.update(
        zip(former.column("id").to_pylist(), former.column("manager_id").to_pylist(), strict=True)
    )
    links = found.links["manager"]
    for link in links.to_pylist():  # a former manager may be announced after the new one
        if link["gone"] and manager.get(link["owner"]) == link["other"]:
            manager[link["owner"]] = None
    for link in links.to_pylist():
        if not link["gone"] and link["owner"] in manager:
            manager[link["owner"]] = link["other"]
    away = set(found.removed.to_pylist())
    manager = {user: None if boss in away else boss for user, boss in manager.items()}
    bereft = stored(job, "users", "manager_id", found.removed)
    others: dict[Any, str | None] = dict.fromkeys(bereft.column("id").to_pylist())
    fresh = job.fresh("users")
    if len(fresh):
        reports = _own_side(job, "users", "users", "directReports", fresh)
        for row in reports.to_pylist():
            user = row["link"]["id"]
            (manager if user in manager else others)[user] = row["object"]
    for user in [*away, *manager]:
        others.pop(user, None)
    touched = stored(job, "users", "id", pa.array(list(others), _TEXT))
    return pa.concat_tables([_managed(rows, manager), _managed(touched, others)])


def _managed(rows: pa.Table, manager: dict[Any, str | None]) -> pa.Table:
    ids = [manager[user] for user in rows.column("id").to_pylist()]
    place = rows.schema.get_field_index("manager_id")
    return rows.set_column(place, rows.schema.field(place), pa.array(ids, _TEXT))


def _together(arrays: Sequence[Array]) -> Array:
    return pa.concat_arrays([pa.array([], _TEXT), *arrays])
