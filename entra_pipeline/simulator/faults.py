"""Scripted faults: rules that spoil chosen answers.

A rule is JSON: `{"match": {...}, "when": "before"|"after", <what happens>}`.

match (all optional): `method`; `path`, a regular expression searched in the decoded path and query
(`/v1.0/users?$top=999`); `body`, one searched in the request's body; `effect` true, only requests
that changed the directory (with `when` after); `nth`, only that match (from 1); `every`, each so
many-th match; `probability` from 0 to 1; `times`, how often the rule may fire at most.

What happens: `respond` {status, headers, body}, `delay_ms`, `reset` true, `truncate_at` bytes, or
`patch`, an RFC 6902 patch of the true answer. `when` says whether the request's side effect
happens: `before` (default for respond and reset) answers instead of it, `after` does it first, and
`later` answers instead and does it `delay_ms` afterwards, when the client has given up waiting.
`{base}` in a responded header or text stands for scheme://host:port.
"""

import random
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from entra_pipeline.simulator import json_patch
from entra_pipeline.simulator.wire import (
    GRAPH_JSON,
    JsonObject,
    Response,
    decode_json,
    encode_json,
)

_MATCH_KEYS = frozenset(
    {"method", "path", "body", "effect", "nth", "every", "probability", "times"}
)
_ACTION_KEYS = frozenset({"respond", "delay_ms", "reset", "truncate_at", "patch"})


class FaultRuleError(ValueError):
    """A rule cannot be understood; the message says which and why."""


@dataclass
class Rule:
    """One rule and how often it has matched and fired."""

    method: str | None = None
    path: re.Pattern[str] | None = None
    nth: int | None = None
    every: int | None = None
    probability: float | None = None
    times: int | None = None
    body: re.Pattern[str] | None = None
    effect: bool = False
    after: bool = False
    later: bool = False
    respond: JsonObject | None = None
    delay_ms: float = 0.0
    reset: bool = False
    truncate_at: int | None = None
    patch: list[dict[str, Any]] | None = None
    matched: int = 0
    fired: int = 0
    text: JsonObject = field(default_factory=dict)

    def fires(self, method: str, target: str, body: bytes, rng: random.Random) -> bool:
        """Whether the rule fires for this request; counts either way."""
        if self.method is not None and self.method != method:
            return False
        if self.path is not None and self.path.search(target) is None:
            return False
        if self.body is not None and self.body.search(body.decode("utf-8", "replace")) is None:
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        self.matched += 1
        if self.nth is not None and self.matched != self.nth:
            return False
        if self.every is not None and self.matched % self.every != 0:
            return False
        if self.probability is not None and rng.random() >= self.probability:
            return False
        self.fired += 1
        return True


@dataclass
class Fault:
    """What the rules that fired do to one request."""

    delay_ms: float = 0.0
    before: Rule | None = None
    """Answers instead of the request being carried out."""
    after: list[Rule] = field(default_factory=list)


class Faults:
    """All rules in force."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.rules: list[Rule] = []

    def replace(self, rules: Any) -> None:
        """Put these rules in force instead. Raises FaultRuleError, leaving the old ones."""
        if isinstance(rules, dict):
            rules = rules.get("rules", [rules])
        if not isinstance(rules, list):
            raise FaultRuleError("faults must be a list of rules")
        self.rules = [_rule(position, rule) for position, rule in enumerate(rules)]

    def reset_counts(self) -> None:
        """Forget what has fired so far, for the statistics only."""
        for rule in self.rules:
            rule.fired = rule.matched = 0

    def find(self, method: str, target: str, body: bytes = b"") -> Fault | None:
        """What happens to this request; None if nothing. Rules for effects wait for `effective`."""
        fault: Fault | None = None
        decoded = unquote(target)
        for rule in self.rules:
            if rule.effect or not rule.fires(method, decoded, body, self._rng):
                continue
            fault = fault or Fault()
            fault.delay_ms += 0 if rule.later else rule.delay_ms
            if (rule.respond is not None or rule.reset) and not rule.after:
                fault.before = rule
                break
            fault.after.append(rule)
        return fault

    def effective(self, method: str, target: str, body: bytes) -> list[Rule]:
        """The rules that fire for a request because it changed something."""
        decoded = unquote(target)
        return [
            rule
            for rule in self.rules
            if rule.effect and rule.fires(method, decoded, body, self._rng)
        ]

    @staticmethod
    def apply(rule: Rule, response: Response | None, base: str) -> Response:
        """The answer after the rule; `response` is the true one, or None before it is made."""
        if rule.reset:
            spoiled = response or Response()
            spoiled.reset = True
            return spoiled
        if rule.respond is not None:
            return _responded(rule.respond, response, base)
        if response is None:
            response = Response()
        if rule.patch is not None and response.body:
            try:
                document = json_patch.apply(decode_json(response.body), rule.patch)
            except ValueError:
                # The patch does not fit this answer (an error, the last page): leave it true.
                rule.fired -= 1
                return response
            response.body = encode_json(_with_base(document, base))
        if rule.truncate_at is not None:
            response.truncate_at = rule.truncate_at
        return response


def _with_base(value: Any, base: str) -> Any:
    if isinstance(value, str):
        return value.replace("{base}", base)
    if isinstance(value, list):
        return [_with_base(each, base) for each in value]
    if isinstance(value, dict):
        return {name: _with_base(each, base) for name, each in value.items()}
    return value


def _responded(answer: JsonObject, true: Response | None, base: str) -> Response:
    body = answer.get("body")
    if body is None:
        encoded, content_type = b"", GRAPH_JSON
    elif isinstance(body, str):
        encoded, content_type = _with_base(body, base).encode(), "text/html"
    else:
        encoded, content_type = encode_json(_with_base(body, base)), GRAPH_JSON
    headers = {
        str(name): str(_with_base(str(value), base))
        for name, value in (answer.get("headers") or {}).items()
    }
    for name in list(headers):
        if name.lower() == "content-type":
            content_type = headers.pop(name)
    response = Response(
        status=int(answer.get("status", 200)),
        body=encoded,
        headers=headers,
        content_type=content_type,
    )
    if true is not None:
        response.route, response.units = true.route, true.units
    return response


def _rule(position: int, rule: Any) -> Rule:
    def refuse(reason: str) -> FaultRuleError:
        return FaultRuleError(f"fault rule {position}: {reason}")

    if not isinstance(rule, dict):
        raise refuse("is not an object")
    match = rule.get("match") or {}
    unknown = (set(match) - _MATCH_KEYS) | (set(rule) - _ACTION_KEYS - {"match", "when", "name"})
    if unknown:
        raise refuse(f"has unknown keys: {', '.join(sorted(unknown))}")
    if not _ACTION_KEYS & set(rule):
        raise refuse(f"does nothing; give one of {', '.join(sorted(_ACTION_KEYS))}")
    when = rule.get("when", "before")
    if when not in ("before", "after", "later"):
        raise refuse(f"when is '{when}'; it must be 'before', 'after' or 'later'")
    if match.get("effect") and when != "after":
        raise refuse("matches an effect, which is known only afterwards; give when: after")
    if when == "later" and "respond" not in rule and not rule.get("reset"):
        raise refuse("has when: later but no answer; give respond or reset")
    try:
        path = re.compile(match["path"]) if match.get("path") is not None else None
        body = re.compile(match["body"]) if match.get("body") is not None else None
    except re.error as error:
        raise refuse(f"path or body is no regular expression: {error}") from error
    method = match.get("method")
    return Rule(
        method=method.upper() if method is not None else None,
        path=path,
        nth=match.get("nth"),
        every=match.get("every"),
        probability=match.get("probability"),
        times=match.get("times"),
        body=body,
        effect=bool(match.get("effect", False)),
        after=when == "after",
        later=when == "later",
        respond=rule.get("respond"),
        delay_ms=float(rule.get("delay_ms", 0)),
        reset=bool(rule.get("reset", False)),
        truncate_at=rule.get("truncate_at"),
        patch=rule.get("patch"),
        text=rule,
    )
