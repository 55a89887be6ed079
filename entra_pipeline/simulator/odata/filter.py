"""`$filter`: text becomes a predicate.

The grammar is the part of OData that Graph accepts on directory objects: and, or, not, eq, ne,
ge, le, gt, lt, in, startswith, endswith, any, `/$count` comparisons. Everything else is refused
with `Request_UnsupportedQuery`, as is what the caller's `Rules` do not allow. Which operators need
an advanced query: graph "Advanced query capabilities on Microsoft Entra ID objects".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from entra_pipeline.simulator import schema
from entra_pipeline.simulator.errors import bad_request, unsupported_query

Predicate = Callable[[Any], bool]

MAX_CLAUSES = 15
"""How many alternatives (`or`, or values of `in`) Graph takes in one filter."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<guid>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})
    | (?P<date>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z_@$][\w@.$]*(?:/[A-Za-z_$][\w.$]*)*)
    | (?P<mark>[(),:])
    )""",
    re.VERBOSE,
)
_COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
_GUID_TYPE, _DATE_TYPE, _BOOLEAN_TYPE = "Edm.Guid", "Edm.DateTimeOffset", "Edm.Boolean"
_NUMBER_TYPES = frozenset({"Edm.Int32", "Edm.Int64", "Edm.Double", "Edm.Int16", "Edm.Byte"})


@dataclass(frozen=True)
class Rules:
    """What one endpoint's `$filter` may say.

    `properties` None allows every declared primitive. `directory` endpoints know advanced queries;
    the others have only `operators` and `functions`.
    """

    directory: bool = True
    properties: frozenset[str] | None = None
    operators: frozenset[str] = _COMPARISONS | {"in", "and", "or", "not", "any", "count"}
    functions: frozenset[str] = frozenset({"startswith", "endswith"})


DIRECTORY = Rules()
"""Directory objects: every declared property, advanced queries."""

EQUALITY = Rules(
    directory=False,
    operators=frozenset({"eq", "and", "or", "in"}),
    functions=frozenset(),
)
"""Services beside the directory (role management, grants) that compare for equality only."""


@dataclass(frozen=True)
class Filter:
    """A compiled filter: its predicate, whether it needs an advanced query, and what it names."""

    matches: Predicate
    advanced: bool
    properties: frozenset[str]
    equalities: dict[str, str]
    """Properties that must equal a text for the whole to hold: what an index can answer."""
    memberships: dict[str, tuple[str, ...]]
    """Properties that must equal one of some texts for the whole to hold: the same."""
    bounds: tuple[tuple[str, str, str], ...] = ()
    """Property, operator and `instant` of times that must hold for the whole to hold."""
    bounds_only: bool = False
    """Whether the filter says nothing but `bounds`."""


class _Lexeme(NamedTuple):
    kind: str
    text: str


class _Typed(NamedTuple):
    """A property path with its type, ready to be read from a row."""

    get: Callable[[Any], Any]
    type: str
    is_collection: bool
    name: str


@lru_cache(maxsize=2048)
def compile_filter(text: str, type_name: str, rules: Rules, undeclared: frozenset[str]) -> Filter:
    """Compile a `$filter` for rows of the type. Raises GraphError 400 for what Graph refuses."""
    parser = _Parser(_lex(text), type_name, rules, undeclared)
    matches = parser.alternatives()
    parser.end()
    return Filter(
        matches,
        parser.advanced,
        frozenset(parser.properties),
        parser.equalities,
        parser.memberships,
        tuple(parser.bounds),
        len(parser.bounds) == parser.conditions,
    )


def _lex(text: str) -> list[_Lexeme]:
    lexemes: list[_Lexeme] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise bad_request(
                f"Invalid filter clause: syntax error at position {position} in '{text}'.",
                "BadRequest",
            )
        lexemes.append(_Lexeme(found.lastgroup, found.group(found.lastgroup)))
        position = found.end()
    return lexemes


def instant(text: str) -> str:
    """A form of Graph's times that sorts as text, whatever the number of fraction digits."""
    if not text.endswith("Z"):
        text = datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    elif len(text) == len("2026-01-01T00:00Z"):
        text = f"{text[:-1]}:00Z"
    whole, _, fraction = text.rstrip("Z").partition(".")
    return f"{whole}.{fraction.ljust(7, '0')}"


def _fold(value: Any) -> Any:
    """The directory compares text without regard to case."""
    return value.casefold() if isinstance(value, str) else value


def _compare(operator: str, left: Any, right: Any) -> bool:
    if operator == "eq":
        return bool(left == right)
    if operator == "ne":
        return bool(left != right)
    if left is None or right is None:
        return False
    if operator == "gt":
        return bool(left > right)
    if operator == "ge":
        return bool(left >= right)
    if operator == "lt":
        return bool(left < right)
    return bool(left <= right)


class _Parser:
    """Recursive descent over the lexemes; every method returns a predicate on a row."""

    def __init__(
        self, lexemes: list[_Lexeme], type_name: str, rules: Rules, undeclared: frozenset[str]
    ) -> None:
        self._lexemes = lexemes
        self._position = 0
        self._type = type_name
        self._rules = rules
        self._undeclared = undeclared
        self._variables: dict[str, str] = {}
        self._clauses = 1
        self._conjunct = True
        self.advanced = False
        self.properties: set[str] = set()
        self.equalities: dict[str, str] = {}
        self.memberships: dict[str, tuple[str, ...]] = {}
        self.bounds: list[tuple[str, str, str]] = []
        self.conditions = 0

    # Reading lexemes

    def _peek(self) -> _Lexeme:
        if self._position < len(self._lexemes):
            return self._lexemes[self._position]
        return _Lexeme("end", "")

    def _take(self) -> _Lexeme:
        lexeme = self._peek()
        self._position += 1
        return lexeme

    def _mark(self, text: str) -> None:
        if self._take() != _Lexeme("mark", text):
            raise bad_request(f"Invalid filter clause: '{text}' expected.", "BadRequest")

    def _is_word(self, word: str) -> bool:
        return self._peek() == _Lexeme("name", word)

    def end(self) -> None:
        """Refuse anything after a complete expression."""
        if self._peek().kind != "end":
            raise bad_request(
                f"Invalid filter clause: '{self._peek().text}' was not expected.", "BadRequest"
            )

    def _allow(self, operator: str) -> None:
        if operator not in self._rules.operators:
            raise unsupported_query(f"Unsupported Query: operator '{operator}'.")

    # Grammar

    def alternatives(self) -> Predicate:
        """`a or b or c`."""
        was_conjunct = self._conjunct
        if self._has_alternatives():
            self._conjunct = False
        parts = [self._all()]
        while self._is_word("or"):
            self._take()
            self._allow("or")
            self._count_clause()
            parts.append(self._all())
        self._conjunct = was_conjunct
        if len(parts) == 1:
            return parts[0]
        return lambda row: any(part(row) for part in parts)

    def _has_alternatives(self) -> bool:
        """Whether an `or` follows that belongs to this level of parentheses."""
        depth = 0
        for kind, text in self._lexemes[self._position :]:
            if kind == "mark" and text in "()":
                depth += 1 if text == "(" else -1
            if depth < 0:
                return False
            if depth == 0 and (kind, text) == ("name", "or"):
                return True
        return False

    def _all(self) -> Predicate:
        parts = [self._unary()]
        while self._is_word("and"):
            self._take()
            self._allow("and")
            parts.append(self._unary())
        if len(parts) == 1:
            return parts[0]
        return lambda row: all(part(row) for part in parts)

    def _unary(self) -> Predicate:
        if self._is_word("not"):
            self._take()
            self._need_advanced("not")
            was_conjunct, self._conjunct = self._conjunct, False
            inner = self._unary()
            self._conjunct = was_conjunct
            return lambda row: not inner(row)
        if self._peek() == _Lexeme("mark", "("):
            self._take()
            inner = self.alternatives()
            self._mark(")")
            return inner
        return self._clause()

    def _clause(self) -> Predicate:
        self.conditions += 1
        lexeme = self._take()
        if lexeme.kind != "name":
            raise bad_request(
                f"Invalid filter clause: '{lexeme.text}' is not a property.", "BadRequest"
            )
        if self._peek() == _Lexeme("mark", "("):
            last = lexeme.text.rpartition("/")[2]
            if last == "any" and "/" in lexeme.text:
                return self._any(lexeme.text.rpartition("/")[0])
            return self._function(lexeme.text)
        if lexeme.text.endswith("/$count"):
            return self._count_comparison(lexeme.text.removesuffix("/$count"))
        operator = self._take().text
        if operator == "in":
            return self._in(self._property(lexeme.text))
        if operator not in _COMPARISONS:
            raise bad_request(
                f"Invalid filter clause: '{operator}' is not an operator.", "BadRequest"
            )
        self._allow(operator)
        if operator == "ne":
            self._need_advanced("ne")
        target = self._property(lexeme.text)
        if target.is_collection:
            raise unsupported_query(f"Collection property '{target.name}' needs any().")
        value = self._value(target)
        if operator == "eq" and self._conjunct and isinstance(value, str):
            self.equalities[target.name] = value
        if target.type == _DATE_TYPE and self._conjunct and value is not None and operator != "ne":
            self.bounds.append((target.name, operator, value))
        get = target.get
        if operator == "eq":
            return lambda row: get(row) == value
        return lambda row: _compare(operator, get(row), value)

    def _function(self, name: str) -> Predicate:
        if name not in self._rules.functions:
            raise unsupported_query(f"Unsupported Query: function '{name}'.")
        self._mark("(")
        subject = self._take()
        if subject.kind != "name":
            raise unsupported_query(f"Unsupported Query: {name} needs a property.")
        target = self._property(subject.text)
        if target.type != "Edm.String" or target.is_collection:
            raise unsupported_query(f"Unsupported Query: {name} on '{target.name}'.")
        self._mark(",")
        value = self._value(target)
        self._mark(")")
        if self._is_word("eq"):
            self._take()
            if self._take().text != "true":
                raise unsupported_query()
        if not isinstance(value, str):
            raise unsupported_query(f"Unsupported Query: {name} needs text.")
        get = target.get
        if name == "endswith":
            self._need_advanced("endswith")
            return lambda row: str(get(row) or "").endswith(value)
        if name == "contains":
            return lambda row: value in str(get(row) or "")
        return lambda row: str(get(row) or "").startswith(value)

    def _any(self, path: str) -> Predicate:
        self._allow("any")
        target = self._property(path)
        if not target.is_collection:
            raise unsupported_query(f"any() on '{path}', which is no collection.")
        self._mark("(")
        if self._peek() == _Lexeme("mark", ")"):
            self._take()
            get_any = target.get
            return lambda row: bool(get_any(row))
        variable = self._take().text
        self._mark(":")
        outer, self._variables = self._variables, {**self._variables, variable: target.type}
        was_conjunct, self._conjunct = self._conjunct, False
        inner = self.alternatives()
        self._variables, self._conjunct = outer, was_conjunct
        self._mark(")")
        get = target.get
        return lambda row: any(inner(item) for item in get(row) or ())

    def _count_comparison(self, path: str) -> Predicate:
        self._allow("count")
        self._need_advanced("$count")
        target = self._property(path)
        operator, number = self._take().text, self._take()
        if not target.is_collection or operator not in _COMPARISONS or number.kind != "number":
            raise unsupported_query()
        get, value = target.get, int(number.text)
        return lambda row: _compare(operator, len(get(row) or ()), value)

    def _in(self, target: _Typed) -> Predicate:
        self._allow("in")
        self._mark("(")
        values = [self._value(target)]
        while self._peek() == _Lexeme("mark", ","):
            self._take()
            self._count_clause()
            values.append(self._value(target))
        self._mark(")")
        if self._conjunct and all(isinstance(value, str) for value in values):
            self.memberships[target.name] = tuple(dict.fromkeys(values))
        wanted, get = frozenset(values), target.get
        return lambda row: get(row) in wanted

    def _count_clause(self) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise unsupported_query(
                "Too many child clauses specified in search filter expression containing 'OR' "
                f"operators: {self._clauses}. Max allowed: {MAX_CLAUSES}."
            )

    def _need_advanced(self, operator: str) -> None:
        if not self._rules.directory:
            raise unsupported_query(f"Unsupported Query: operator '{operator}'.")
        self.advanced = True

    # Names and values

    def _property(self, path: str) -> _Typed:
        names = path.split("/")
        inside_any = names[0] in self._variables
        if inside_any:
            type_name = self._variables[names[0]]
            if len(names) == 1:
                return _Typed(_item_reader(type_name), type_name, False, names[0])
            names = names[1:]
        else:
            type_name = self._type
            self.properties.add(names[0])
            allowed = self._rules.properties
            if allowed is not None and names[0] not in allowed:
                raise unsupported_query(f"Unsupported or invalid query filter property '{path}'.")
        found = None
        for name in names:
            found = schema.properties(type_name).get(name)
            if found is None:
                if not inside_any and len(names) == 1 and name in self._undeclared:
                    found = schema.Property("Edm.String", False, True)
                else:
                    raise bad_request(
                        "Invalid filter clause: Could not find a property named "
                        f"'{name}' on type 'microsoft.graph.{type_name.rpartition('.')[2]}'.",
                        "BadRequest",
                    )
            type_name = found.type
        if found is None or (schema.is_complex(type_name) and not found.is_collection):
            raise unsupported_query(f"Unsupported or invalid query filter property '{path}'.")
        return _Typed(
            reader(tuple(names), type_name, found.is_collection),
            type_name,
            found.is_collection,
            "/".join(names),
        )

    def _value(self, target: _Typed) -> Any:
        lexeme = self._take()
        text = lexeme.text
        if lexeme == _Lexeme("name", "null"):
            return None
        if target.type == _BOOLEAN_TYPE and text in ("true", "false"):
            return text == "true"
        if target.type == _GUID_TYPE and lexeme.kind == "guid":
            return text.casefold()
        if target.type == _DATE_TYPE and lexeme.kind == "date":
            try:
                return instant(text)
            except ValueError as error:
                raise bad_request(f"Invalid filter clause: {error}.", "BadRequest") from error
        if target.type in _NUMBER_TYPES and lexeme.kind == "number":
            return float(text)
        if lexeme.kind == "string" and (target.type == "Edm.String" or schema.is_enum(target.type)):
            return text[1:-1].replace("''", "'").casefold()
        raise bad_request(
            "Invalid filter clause: A binary operator with incompatible types was detected: "
            f"property '{target.name}' is {target.type}, the value is {text}.",
            "BadRequest",
        )


def reader(names: tuple[str, ...], edm_type: str, is_collection: bool) -> Callable[[Any], Any]:
    """What reads the property behind the path from a row, in a form that compares."""
    first = names[0]
    if len(names) > 1:
        rest = reader(names[1:], edm_type, is_collection)
        return lambda row: rest(row.get(first) or {})
    if is_collection:
        return lambda row: row.get(first)
    if edm_type == _DATE_TYPE:
        return lambda row: instant(row[first]) if row.get(first) else None
    return lambda row: _fold(row.get(first))


def _item_reader(edm_type: str) -> Callable[[Any], Any]:
    return instant if edm_type == _DATE_TYPE else _fold
