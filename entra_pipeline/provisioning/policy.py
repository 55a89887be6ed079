"""The policy: what may be asked for by whom, who has to agree, for how long, and how much at once.

Belongs here: the file `policy.yaml`, its schema and its safe defaults. Does not belong here:
judging a plan by it (`guards`).

    version: 1
    kinds:
      delete_user: {ask: ["entra:<object id>"]}     # others may not ask for this kind
      revoke_mfa: {ask: []}                         # nobody may
    approvals: {control: 2, sensitive: 1, ordinary: 1}
    unapproved: [check_upn]                         # kinds that need no approval
    approvers: ["entra:<object id>"]                # who may approve; left out: anybody known
    os_user_approves: false                         # the operating system's user is good enough
    separate: {requester: true, beneficiary: true}  # neither approves what is for themselves
    longest: {control: 8h, sensitive: 90d}          # a grant must end within
    protected:
      principals: [<object id>]
      groups: [<object id>]
    conflicts:
      - name: payments
        sides: [["group:<id>:member"], ["app:<id>:<app role>"]]
        exceptions:
          - {principal: <object id>, until: 2026-12-31T00:00:00Z, reason: month-end cover}
    limits:
      plan: {gained: 500, lost: 200}
      hour: {lost: 500}
      day: {lost: 1000, lost_percent: 2}
    oldest_facts: 24h                               # tables read before are too old to be sure of
    offboard: {lost: 2000, people_a_day: 20, file_from_leave_date: true, ahead: 7d}
    emergency: {who: ["entra:<object id>"], kinds: [group, role], longest: 4h}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.values import BODY, Guid, Identity, Moment, Said, Tier, Value

FILE: Final = "policy.yaml"
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})\s*(m|h|d)")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
KINDS: Final = frozenset(
    kind
    for definition in BODY.json_schema()["$defs"].values()
    if (kind := definition.get("properties", {}).get("kind", {}).get("const")) is not None
)


class PolicyError(ProvisioningError):
    """The policy file cannot be used: the text names the place, the reason and the remedy."""


def _span(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (found := _SPAN.fullmatch(value.strip())):
        raise ValueError(f"{value!r} is not a length of time: 30m, 8h or 90d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _seconds(value: timedelta) -> int:
    return value // timedelta(seconds=1)


Span = Annotated[timedelta, BeforeValidator(_span), PlainSerializer(_seconds, return_type=int)]
Asker = Annotated[str, Field(pattern=r"^(?:(entra|os_user):.+|launchpad)$")]
IdentityKey = Annotated[str, Field(pattern=r"^(entra|os_user):.+$")]
Count = Annotated[int, Field(ge=0)]


class KindRule(Value):
    """Who may ask for a kind; None: everybody who is known."""

    ask: tuple[IdentityKey, ...] | None = None


class Approvals(Value):
    """How many people have to approve, by the tier of the most dangerous operation."""

    control: Count = 2
    sensitive: Count = 1
    ordinary: Count = 1

    def needed(self, tier: Tier) -> int:
        """For a plan of that tier."""
        needed: int = getattr(self, tier.name.lower())
        return needed


class Separate(Value):
    """Who must not be the one who approves."""

    requester: bool = True
    beneficiary: bool = True


class Longest(Value):
    """After how long grants must end, by tier; None: they need no end."""

    control: Span | None = timedelta(hours=8)
    sensitive: Span | None = None
    ordinary: Span | None = None

    def of(self, tier: Tier) -> timedelta | None:
        """For an operation of that tier."""
        longest: timedelta | None = getattr(self, tier.name.lower())
        return longest


class Protected(Value):
    """What no request touches: break-glass accounts, say."""

    principals: tuple[Guid, ...] = ()
    groups: tuple[Guid, ...] = ()


class Exemption(Value):
    """Somebody who may hold both sides of a conflict for a while."""

    principal: Guid
    until: Moment
    reason: Annotated[Said, Field(min_length=3, max_length=1024)]


class Conflict(Value):
    """Entitlements that nobody may hold of both sides (separation of duties)."""

    name: Annotated[Said, Field(min_length=1, max_length=128)]
    sides: tuple[
        Annotated[tuple[str, ...], Field(min_length=1)],
        Annotated[tuple[str, ...], Field(min_length=1)],
    ]
    exceptions: tuple[Exemption, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Conflict:
        if both := set(self.sides[0]) & set(self.sides[1]):
            raise ValueError(f"{sorted(both)[0]} stands on both sides")
        return self


class Limit(Value):
    """The most effective access that may change; None: no limit of that sort.

    `lost_percent`: of the effective access that there is in all, though never less than 100.
    """

    gained: Count | None = None
    lost: Count | None = None
    lost_percent: Annotated[float, Field(gt=0, le=100)] | None = None


class Limits(Value):
    """How much may change by one plan, within any hour, within any day."""

    plan: Limit = Limit(gained=500, lost=200)
    hour: Limit = Limit(gained=2000, lost=500)
    day: Limit = Limit(gained=10000, lost=1000, lost_percent=2)


class OffboardRule(Value):
    """Offboarding: without this entry nobody is offboarded.

    An offboarding is one person, however much that is: `gained` (by heirs) and `lost` stand in
    place of the limits of a plan, an hour and a day, and `people_a_day` limits their number.
    `file_from_leave_date`: the directory's date of leaving files a request (and approves none),
    `ahead` of it.
    """

    gained: Count = 200
    lost: Count = 2000
    people_a_day: Count = 20
    file_from_leave_date: bool = False
    ahead: Span = timedelta(days=7)

    @property
    def limits(self) -> Limits:
        """What it says of effective access, as limits."""
        return Limits(plan=Limit(gained=self.gained, lost=self.lost), hour=Limit(), day=Limit())


LONGEST_EMERGENCY: Final = timedelta(hours=24)


class EmergencyRule(Value):
    """Emergency access: without this entry there is none.

    `who` may ask for it (`launchpad`: whoever can launch jobs in Dagster); `kinds` of access;
    `longest`: how long it lasts at most, and if nothing shorter was asked for.
    """

    who: Annotated[tuple[Asker, ...], Field(min_length=1)]
    kinds: Annotated[
        tuple[Literal["group", "app", "role", "license"], ...], Field(min_length=1)
    ] = ("group", "app", "role")
    longest: Annotated[Span, Field(gt=timedelta(0), le=LONGEST_EMERGENCY)] = timedelta(hours=4)

    def lets(self, who: Identity) -> bool:
        """Whether somebody may ask for it."""
        return bool({who.key, _bare(who)} & set(self.who)) or (
            who.kind == "system" and who.subject == "dagster" and "launchpad" in self.who
        )


class Policy(Value):
    """All of it. What a file leaves out has the default shown here, which is the safe one."""

    version: Literal[1] = 1
    kinds: Mapping[str, KindRule] = Field(default_factory=dict)
    approvals: Approvals = Approvals()
    unapproved: frozenset[str] = frozenset({"check_upn"})
    approvers: tuple[IdentityKey, ...] | None = None
    os_user_approves: bool = False
    separate: Separate = Separate()
    longest: Longest = Longest()
    protected: Protected = Protected()
    conflicts: tuple[Conflict, ...] = ()
    limits: Limits = Limits()
    oldest_facts: Span | None = timedelta(hours=24)
    offboard: OffboardRule | None = None
    emergency: EmergencyRule | None = None

    @model_validator(mode="after")
    def _known(self) -> Policy:
        if unknown := sorted((set(self.kinds) | self.unapproved) - KINDS):
            raise ValueError(f"no such kind: {', '.join(unknown)}; kinds are {sorted(KINDS)}")
        names = [conflict.name for conflict in self.conflicts]
        if len(set(names)) != len(names):
            raise ValueError("two conflicts have the same name")
        return self

    @classmethod
    def load(cls, path: Path) -> Policy:
        """The policy in a file; the defaults where there is no file. Raises PolicyError."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path} cannot be read: {type(error).__name__}") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = FILE) -> Policy:
        """The policy that a text says. Raises PolicyError, a line for each thing wrong."""
        try:
            document = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f" in line {mark.line + 1}" if mark is not None else ""
            problem = getattr(error, "problem", None) or "it cannot be parsed"
            raise PolicyError(f"{name} is not YAML{place}: {problem}") from None
        if not isinstance(document, dict):
            raise PolicyError(f"{name} does not begin with `version: 1`")
        try:
            # A file without a version may be of any.
            return cls.model_validate({"version": None, **document})
        except ValidationError as error:
            lines = [
                f"{name}: {'.'.join(str(part) for part in each['loc']) or 'policy'}: {each['msg']}"
                for each in error.errors(include_url=False, include_context=False)
            ]
            raise PolicyError("\n".join(lines)) from None

    @cached_property
    def hash(self) -> str:
        """What plans are bound to: equal for policies that mean the same."""
        document = self.model_dump(mode="json")
        for name in _LATER:
            if document[name] is None:
                del document[name]
        return canonical.digest(canonical.text(_whole(document)))

    def may_ask(self, kind: str, who: Identity) -> bool:
        """Whether somebody may ask for that kind."""
        rule = self.kinds.get(kind)
        return rule is None or rule.ask is None or who.key in rule.ask or _bare(who) in rule.ask

    def may_approve(self, who: Identity) -> bool:
        """Whether what somebody says counts as an approval."""
        if who.kind == "os_user" and not self.os_user_approves:
            return False
        return self.approvers is None or who.key in self.approvers or _bare(who) in self.approvers


_LATER: Final = ("offboard", "emergency")
"""Entries that older programs did not know: left out they change no hash."""


def _bare(who: Identity) -> str:
    return f"{who.kind}:{who.subject}"


def _whole(value: Any) -> Any:
    """Fractions as text: canonical JSON has none. Sets in order."""
    match value:
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
        case float():
            return repr(value)
    return value


class Loader(yaml.SafeLoader):
    """Plain YAML in which no key comes twice: the second would silently undo the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping. Raises ConstructorError for a key that comes twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} comes twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
