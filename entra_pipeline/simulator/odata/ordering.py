"""`$orderby` and `$search`: text becomes a sort key or a predicate.

Which of them an endpoint takes, and together with what, is decided in listing.py. `$filter` is in
filter.py.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from entra_pipeline.simulator import schema
from entra_pipeline.simulator.errors import bad_request, unsupported_query
from entra_pipeline.simulator.odata.filter import Predicate, reader
from entra_pipeline.simulator.wire import JsonObject


@lru_cache(maxsize=256)
def compile_order(text: str, type_name: str) -> tuple[str, bool, Callable[[JsonObject], Any]]:
    """Property, whether descending, and sort key of an `$orderby`. Nulls come first."""
    parts = text.split()
    declared = schema.properties(type_name)
    if len(parts) not in (1, 2) or (len(parts) == 2 and parts[1].lower() not in ("asc", "desc")):
        raise unsupported_query("Unsupported sort clause.")
    name = parts[0]
    if name not in declared:
        raise bad_request(
            f"Could not find a property named '{name}' on type 'microsoft.graph.{type_name}'.",
            "BadRequest",
        )
    found = declared[name]
    if found.is_collection or schema.is_complex(found.type):
        raise unsupported_query(f"Sorting not supported for property '{name}'.")
    read = reader((name,), found.type, False)

    def key(row: JsonObject) -> Any:
        value = read(row)
        return (value is not None, value if value is not None else "")

    return name, len(parts) == 2 and parts[1].lower() == "desc", key


_SEARCH_CLAUSE = re.compile(r'\s*(?:(AND|OR)\s+)?"([A-Za-z]\w*):([^"]+)"')
_TOKENISED = frozenset({"displayName", "description"})
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=256)
def compile_search(text: str, type_name: str) -> Predicate:
    """Compile `$search="displayName:alpha" OR "mail:beta"`.

    displayName and description are searched by the beginnings of their words, other properties
    from their start. Raises GraphError 400 when it is not of this form.
    """
    declared = schema.properties(type_name)
    position, result = 0, None
    while position < len(text.rstrip()):
        found = _SEARCH_CLAUSE.match(text, position)
        if found is None or (result is not None) != (found.group(1) is not None):
            raise unsupported_query("Unrecognized query argument specified in $search.")
        joiner, name, wanted = found.groups()
        if name not in declared or declared[name].type != "Edm.String":
            raise unsupported_query(f"Property '{name}' is not searchable.")
        clause = _search_clause(name, wanted)
        result = clause if result is None else _join(joiner, result, clause)
        position = found.end()
    if result is None:
        raise unsupported_query("Unrecognized query argument specified in $search.")
    return result


def _join(joiner: str, left: Predicate, right: Predicate) -> Predicate:
    if joiner == "AND":
        return lambda row: left(row) and right(row)
    return lambda row: left(row) or right(row)


def _search_clause(name: str, wanted: str) -> Predicate:
    if name in _TOKENISED:
        words = [word.casefold() for word in _WORD.findall(wanted)]

        def by_words(row: JsonObject) -> bool:
            held = _WORD.findall(str(row.get(name) or "").casefold())
            return all(any(each.startswith(word) for each in held) for word in words)

        return by_words
    start = wanted.casefold()

    def from_start(row: JsonObject) -> bool:
        value = row.get(name)
        texts = value if isinstance(value, list) else [value]
        return any(str(each or "").casefold().startswith(start) for each in texts)

    return from_start
