"""Column-wise conversions between Graph's forms and ours.

Here: functions from Arrow arrays to Arrow arrays. Not here: which column needs which (`mapping`
and the readers).
"""

from datetime import UTC, datetime

import pyarrow as pa

from entra_pipeline.extract.arrow import Array, Lists
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.notes import (
    MISMATCHED,
    SENTINEL_DATES,
    UNKNOWN_TYPES,
    UNREADABLE_DATES,
    Notes,
)

INSTANT = pa.timestamp("us", "UTC")
KIND = pa.dictionary(pa.int8(), pa.string())

_KINDS = {
    "user": "user",
    "group": "group",
    "servicePrincipal": "service_principal",
    "device": "device",
    "orgContact": "contact",
    "application": "application",
    "administrativeUnit": "administrative_unit",
    "directoryRole": "directory_role",
    # Types derived from these in Microsoft's metadata of August 2026.
    "agentUser": "user",
    "agentIdentity": "service_principal",
    "agentIdentityBlueprintPrincipal": "service_principal",
    "agentIdentityBlueprint": "application",
}
_PREFIX = "#microsoft.graph."


def instants(text: Array, notes: Notes) -> Array:
    """Graph's date-times as timestamp('us', 'UTC').

    Seven fractional digits are cut to six. Graph's "never", 0001-01-01T00:00:00Z, becomes null
    and is counted, as does what is no date-time at all.
    """
    if text.null_count == len(text):
        return pa.nulls(len(text), INSTANT)
    never = pc.starts_with(text, pattern="0001-01-01")
    if pc.any(never).as_py():
        notes.add(SENTINEL_DATES, pc.sum(never).as_py())
        text = pc.if_else(never, None, text)
    # Cutting digits off would cut an offset off too.
    if pc.all(pc.ends_with(text, pattern="Z")).as_py():
        try:
            plain = pc.utf8_slice_codeunits(pc.utf8_rtrim(text, characters="Z"), 0, 26)
            return plain.cast(pa.timestamp("us")).cast(INSTANT)
        except pa.ArrowInvalid:
            pass
    return pa.array([_instant(value, notes) for value in text.to_pylist()], INSTANT)


def _instant(value: str | None, notes: Notes) -> datetime | None:
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        notes.add(UNREADABLE_DATES)
        return None


def integers(values: Array, kind: pa.DataType, notes: Notes) -> Array:
    """Numbers as the declared integer type; what does not fit becomes null, counted."""
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        low, high = _range(kind)
        fits = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
        notes.add(MISMATCHED, pc.sum(pc.invert(fits)).as_py() or 0)
        return pc.if_else(fits, values, None).cast(kind)


def _range(kind: pa.DataType) -> tuple[int, int]:
    bits = kind.bit_width
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def kinds(odata_types: Array, notes: Notes, default: str = "unknown") -> Array:
    """`@odata.type` annotations as our kinds, dictionary<int8, string>.

    A type that we do not know is counted and takes `default`: the kind that the collection's
    objects derive from where there is one, else `unknown`. Types may be new: Graph adds derived
    types without a new version.
    Source: https://learn.microsoft.com/graph/best-practices-concept#handling-future-members
    """
    encoded = odata_types.dictionary_encode()
    names = []
    for position, name in enumerate(encoded.dictionary.to_pylist()):
        kind = _KINDS.get(name.removeprefix(_PREFIX))
        if kind is None:
            met = pc.sum(pc.equal(encoded.indices, position)).as_py() or 0
            notes.add(UNKNOWN_TYPES, met)
        names.append(kind or default)
    names.append(default)
    filled = encoded.indices.fill_null(len(names) - 1)
    return pa.array(names, pa.string()).take(filled).cast(KIND)


def kind_of(odata_type: str) -> str | None:
    """Our kind of one `@odata.type`, or None if we do not know it."""
    return _KINDS.get(odata_type.removeprefix(_PREFIX))


def words(text: Array) -> Array:
    """Space-separated words as list<text>, null as an empty list, repeated spaces ignored.

    The `scope` of an oAuth2PermissionGrant often starts with a space.
    """
    trimmed = pc.utf8_trim_whitespace(text.fill_null(""))
    lists = pc.split_pattern_regex(trimmed, pattern=r"\s+")
    empty = pc.equal(trimmed, "")
    if pc.any(empty).as_py():
        no_words = pa.array([[]], pa.list_(pa.string()))[0]
        lists = pc.if_else(empty, no_words, lists)
    return lists


def parents(lists: Lists) -> Array:
    """For each element of the flattened lists, the position of its list, int64."""
    return pc.list_parent_indices(lists)
