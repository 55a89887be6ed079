"""Query options of a request, as text becomes values. What they mean is decided elsewhere."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote_plus

from entra_pipeline.simulator.errors import GraphError, bad_request

_NAME = re.compile(r"^[A-Za-z_@][\w.@\-]*$")
_KNOWN = frozenset(
    {
        "$select",
        "$expand",
        "$top",
        "$filter",
        "$search",
        "$orderby",
        "$count",
        "$skip",
        "$skiptoken",
        "$deltatoken",
        "$format",
    }
)


@dataclass(frozen=True, slots=True)
class Expansion:
    """One `$expand` item: a navigation, what to select in it, and an item inside it."""

    navigation: str
    select: tuple[str, ...] | None = None
    inner: "Expansion | None" = None


@dataclass(frozen=True, slots=True)
class Query:
    """Parsed options; None or False where the request does not say.

    `pairs` are all options but page tokens, decoded, in order: a next link repeats them.
    """

    select: tuple[str, ...] | None = None
    expand: tuple[Expansion, ...] = ()
    top: int | None = None
    filter: str | None = None
    search: str | None = None
    orderby: str | None = None
    count: bool = False
    skip: int | None = None
    skiptoken: str | None = None
    deltatoken: str | None = None
    pairs: tuple[tuple[str, str], ...] = ()

    def link(self, token_name: str, token: str) -> str:
        """The query string of a next or delta link that carries the token."""
        parts = [f"{name}={quote(value, safe=_SAFE)}" for name, value in self.pairs]
        return "&".join([*parts, f"{token_name}={token}"])


_SAFE = "$,()'/:;@*!-._~"


@lru_cache(maxsize=4096)
def parse_query(text: str) -> Query:
    """Read the part of a URL after the question mark.

    Raises GraphError 400 for an unknown `$` option, a repeated one, or one that cannot be read.
    Names without the dollar sign that would be options are refused too: being ignored would hide
    a client's mistake.
    """
    values: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for part in text.split("&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition("=")
        name, value = unquote_plus(raw_name), unquote_plus(raw_value)
        option = name.lower()
        if option.startswith("$"):
            if option not in _KNOWN:
                raise bad_request(f"The query parameter '{name}' is not supported.", "BadRequest")
            if option in values:
                raise bad_request(
                    f"Query option '{name}' was specified more than once, "
                    "but it must be specified at most once.",
                    "BadRequest",
                )
            values[option] = value
        elif f"${option}" in _KNOWN:
            raise bad_request(
                f"The query parameter '{name}' is not supported; write '${name}'.", "BadRequest"
            )
        if option not in ("$skiptoken", "$deltatoken"):
            pairs.append((name, value))
    return Query(
        select=parse_select(values["$select"]) if "$select" in values else None,
        expand=_parse_expand(values["$expand"]) if "$expand" in values else (),
        top=_number("$top", values.get("$top")),
        filter=values.get("$filter"),
        search=values.get("$search"),
        orderby=values.get("$orderby"),
        count=_flag("$count", values.get("$count")),
        skip=_number("$skip", values.get("$skip")),
        skiptoken=values.get("$skiptoken"),
        deltatoken=values.get("$deltatoken"),
        pairs=tuple(pairs),
    )


def parse_select(text: str) -> tuple[str, ...]:
    """The names in a `$select`, in order, each once."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not _NAME.match(name) and name != "*":
            raise bad_request(
                f"Parsing OData Select and Expand failed: syntax error in '{text}'.", "BadRequest"
            )
    return tuple(dict.fromkeys(names))


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise bad_request(f"Invalid value '{text}' for {name} query option found.", "BadRequest")
    return number


def _flag(name: str, text: str | None) -> bool:
    if text is None:
        return False
    if text.lower() not in ("true", "false"):
        raise bad_request(f"Invalid value '{text}' for {name} query option found.", "BadRequest")
    return text.lower() == "true"


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that stand outside parentheses."""
    parts: list[str] = []
    depth = start = 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _parse_expand(text: str) -> tuple[Expansion, ...]:
    return tuple(_expansion(item) for item in _split(text, ","))


def _expansion(item: str) -> Expansion:
    def refuse(reason: str) -> GraphError:
        return bad_request(f"Parsing OData Select and Expand failed: {reason}.", "BadRequest")

    name, parenthesis, rest = item.partition("(")
    name = name.strip()
    if not _NAME.match(name) or (parenthesis and not rest.endswith(")")):
        raise refuse(f"syntax error in '{item}'")
    select: tuple[str, ...] | None = None
    inner: Expansion | None = None
    for option in _split(rest[:-1], ";") if parenthesis else []:
        option_name, _, value = option.partition("=")
        match option_name.strip().lower():
            case "$select" | "select":
                select = parse_select(value)
            case "$expand" | "expand":
                inner = _expansion(value.strip())
            case other:
                raise refuse(f"'{other}' is not supported inside $expand")
    return Expansion(name, select, inner)
