"""Graph's change logs ("delta"): from where, what came, and what it adds up to.

Here: the feeds that tables follow, a bookmark of now, and one round of a feed folded to the last
word on each object and link. Not here: which tables follow which feeds and at what place
(`feeds`), and what a round means for a table's rows (`increments`).

Source: https://learn.microsoft.com/graph/delta-query-overview
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from entra_pipeline.extract import mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.notes import Notes
from entra_pipeline.extract.parse import ODATA_TYPE, PageParser
from entra_pipeline.extract.source import IncompleteError, Listing, Source
from entra_pipeline.msgraph import Page, Service
from entra_pipeline.settings import Settings

REMOVED = "@removed"
_REASON = pa.struct([("reason", pa.string())])
_EVENTS = pa.list_(pa.struct([*mapping.LINK, pa.field(REMOVED, _REASON)]))
_OF_LINKS = pa.schema(
    [pa.field(name, pa.string()) for name in ("owner", "other", "type")]
    + [pa.field("gone", pa.bool_())]
)


class DoubtError(Exception):
    """A round that is not to be trusted with a table's rows: the text says why. Read in full."""


class WholeError(DoubtError):
    """So much may have changed that the whole table is read as quickly. No cause for concern."""


@dataclass(frozen=True)
class Feed:
    """One collection's changes.

    `tracks`: the properties to ask for and the struct type that they come in, by the settings;
    a change of anything else does not show. `relationships`: their changes come as
    `<name>@delta`. `proof`: a property that no object lacks: a change that comes without it did
    not come whole. `after`: feeds to be read before this one, so that an object's removal never
    shows before the links that it had.
    """

    name: str
    path: str
    tracks: Callable[[Settings], tuple[str, Mapping[str, pa.DataType]]]
    relationships: tuple[str, ...] = ()
    proof: str | None = None
    after: tuple[str, ...] = ()
    service: Service = Service.DIRECTORY

    def select(self, settings: Settings) -> str:
        """The value of `$select`."""
        return ",".join([self.tracks(settings)[0], *self.relationships])

    def parser(self, settings: Settings) -> PageParser:
        """What reads a page of this feed."""
        fields = dict(self.tracks(settings)[1])
        fields[REMOVED] = _REASON
        fields.update({events(name): _EVENTS for name in self.relationships})
        return PageParser(pa.struct(list(fields.items())))


@dataclass(frozen=True)
class Round:
    """What happened to a collection since a link, each object and link once, by its last word.

    `items`: the objects that are there, as they are now; `removed`: ids of those that are gone
    (to the recycle bin or for good); `links`: by relationship, columns owner, other (ids), type
    (`@odata.type`) and gone. `end`: the link to go on from.
    """

    end: str
    items: Structs
    removed: Array
    links: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def ids(self) -> Array:
        """The ids of `items`."""
        return pc.struct_field(self.items, "id")


def events(relationship: str) -> str:
    """The property that holds a relationship's changes."""
    return f"{relationship}@delta"


def bookmark(source: Source, feed: Feed, settings: Settings, table: str, priority: int) -> str:
    """A link that stands for now: a later round from it brings what happens from here on.

    Take it before a list is read, so that what changes meanwhile is replayed. Raises GraphError
    where Graph has no such feed and IncompleteError when it does not give a link.
    """
    listing = Listing(
        feed.path,
        {"$deltatoken": "latest", "$select": feed.select(settings)},
        feed.parser(settings),
        table,
        service=feed.service,
        priority=priority,
    )
    for page in source.pages(listing):
        if page.delta_link is not None:
            return page.delta_link
        if not page.is_empty:
            break  # it begins to list everything: that is the first round, not a bookmark
    raise IncompleteError(f"{feed.path} gives no link for now")


def follow(
    source: Source,
    feed: Feed,
    settings: Settings,
    link: str,
    notes: Notes,
    table: str,
    priority: int,
) -> Round:
    """The round that begins at a link.

    Raises DeltaTokenExpiredError and other GraphErrors, IncompleteError when the round does not
    end with a link, DoubtError when objects came without what every object has.
    """
    parser = feed.parser(settings)
    listing = Listing(link, {}, parser, table, service=feed.service, priority=priority)
    parts: list[Structs] = []
    generation = 0
    last: Page | None = None
    for page in source.pages(listing):
        if page.generation != generation:
            generation = page.generation
            parts.clear()
        parts.append(parser.page(page.body, notes))
        last = page
    if last is None or last.delta_link is None:
        raise IncompleteError(f"{feed.path} ended without a link to go on from")
    return folded(feed, pa.concat_arrays([pa.array([], parser.item), *parts]), last.delta_link)


def folded(feed: Feed, items: Structs, end: str) -> Round:
    """One round from all objects of its pages, in Graph's order.

    An object may come several times, its links in slices on pages that are not adjacent, and
    what came before may come again: the last word on each object and each link counts.
    Source: https://learn.microsoft.com/graph/delta-query-groups
    """
    items = items.filter(pc.struct_field(items, "id").is_valid())
    links = {name: _links(items, events(name)) for name in feed.relationships}
    ids = pc.struct_field(items, "id")
    items = items.take(last_of({"id": ids}))
    gone = pc.struct_field(items, REMOVED).is_valid()
    removed = pc.struct_field(items, "id").filter(gone)
    items = items.filter(pc.invert(gone))
    if feed.proof is not None and pc.struct_field(items, feed.proof).null_count:
        raise DoubtError(f"{feed.path} brings objects without {feed.proof}")
    return Round(end, items, removed, links)


def last_of(keys: Mapping[str, Array]) -> Array:
    """The places of the last of each different key, in order."""
    rows = pa.table(dict(keys))
    rows = rows.append_column("place", pa.array(np.arange(rows.num_rows), pa.int64()))
    places = rows.group_by(list(keys)).aggregate([("place", "max")]).column("place_max")
    return places.combine_chunks().sort()


def _links(items: Structs, name: str) -> pa.Table:
    lists = pc.struct_field(items, name)
    owners = pc.struct_field(items, "id").take(pc.list_parent_indices(lists))
    found = lists.flatten()
    columns = {
        "owner": owners,
        "other": pc.struct_field(found, "id"),
        "type": pc.struct_field(found, ODATA_TYPE),
        "gone": pc.struct_field(found, REMOVED).is_valid(),
    }
    links = pa.table(columns, schema=_OF_LINKS)
    links = links.filter(links.column("other").is_valid())
    return links.take(last_of({name: links.column(name) for name in ("owner", "other")}))
