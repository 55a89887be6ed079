"""Requests as people write them: one of a kind, or a file of many.

    reason: ward 4 moves in          # of every request that has none of its own
    requests:
      - kind: grant
        principal_id: <object id>
        access: group:<object id>:member
        duration: 90d
      - kind: revoke
        principal_id: <object id>
        access: {type: role, role_definition_id: <id>, scope: /}
        reason: left the team

Here: reading such texts, with a line for each thing that is wrong. Access may be written as the
warehouse's entitlement id. Not here: filing them (`ledger`).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter, ValidationError

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.errors import RequestError
from entra_pipeline.provisioning.policy import Loader, Span
from entra_pipeline.provisioning.values import Identity, Request, Source

LARGEST: Final = 32 * 1024 * 1024
_SPAN: Final = TypeAdapter(Span)
_OUTER: Final = frozenset({"reason", "requests", "version", "not_before", "expires_at", "duration"})
_AROUND: Final = frozenset(
    {"reason", "for_whom", "not_before", "expires_at", "duration", "key", "emergency"}
)
_ENTITLEMENTS: Final = (
    (re.compile(r"group:([^:]+):(member|owner)"), ("group", "group_id", "relation")),
    (re.compile(r"app:([^:]+):([^:]+)"), ("app", "service_principal_id", "app_role_id")),
    (re.compile(r"role:([^@]+)@(/.*)"), ("role", "role_definition_id", "scope")),
    (re.compile(r"license:([^:]+)"), ("license", "sku_id")),
)


def access(text: str) -> dict[str, Any] | None:
    """The access that an entitlement id names; None when it is not one that can be given."""
    for pattern, (kind, *names) in _ENTITLEMENTS:
        if found := pattern.fullmatch(text.strip()):
            return {"type": kind, **dict(zip(names, found.groups(), strict=True))}
    return None


def request(
    fields: Mapping[str, Any],
    *,
    asked_by: Identity,
    now: datetime,
    source: Source = Source.PERSON,
    where: str = "",
) -> Request:
    """One request from its fields: those of the kind, and those around it.

    `duration` becomes an end, counted from `not_before` or from now. Without a `key` it gets one
    of its own. Raises RequestError, a line for each thing wrong, led by `where`.
    """
    body = {key: value for key, value in fields.items() if key not in _AROUND}
    around = {key: value for key, value in fields.items() if key in _AROUND}
    named = body.get("access")
    if isinstance(named, str):
        found = access(named)
        if found is None:
            raise RequestError(
                f"{where}access: {named!r} is not an entitlement that can be given: "
                "group:<id>:member, group:<id>:owner, app:<id>:<app role id>, role:<id>@<scope> "
                "or license:<sku id>"
            )
        body["access"] = found
    duration = around.pop("duration", None)
    key = around.pop("key", None)
    document = {
        "body": body,
        **around,
        "asked_by": asked_by,
        "source": source,
        "idempotency_key": key or f"own-{uuid.uuid4()}",
    }
    if duration is not None:
        if around.get("expires_at") is not None:
            raise RequestError(f"{where}duration and expires_at: give one of them")
        try:
            span = _SPAN.validate_python(duration)
        except ValidationError:
            raise RequestError(
                f"{where}duration: {duration!r} is not a length of time: 30m, 8h or 90d"
            ) from None
        document["expires_at"] = _begin(around.get("not_before"), now) + span
    try:
        return Request.model_validate(document)
    except ValidationError as error:
        raise RequestError("\n".join(_lines(error, where))) from None


def requests(text: str, name: str, *, asked_by: Identity, now: datetime) -> list[Request]:
    """The requests of a file, YAML or JSON. Raises RequestError, a line for each thing wrong.

    Filed twice, the same file gives the same requests, unless it has durations: those begin anew.
    """
    try:
        document = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise RequestError(f"{name} is neither YAML nor JSON{place}: {problem}") from None
    if isinstance(document, list):
        document = {"requests": document}
    if not isinstance(document, dict) or not isinstance(document.get("requests"), list):
        raise RequestError(f"{name} has no list `requests`")
    if unknown := sorted(set(map(str, document)) - _OUTER):
        raise RequestError(f"{name}: {unknown[0]}: not known beside `requests`")
    common = {k: v for k, v in document.items() if k not in ("requests", "version")}
    found, problems = [], []
    for number, fields in enumerate(document["requests"]):
        where = f"{name}: requests.{number}: "
        if not isinstance(fields, dict):
            problems.append(f"{where}not a mapping")
            continue
        if "duration" in fields or "expires_at" in fields:
            own = {k: v for k, v in common.items() if k not in ("duration", "expires_at")}
        else:
            own = common
        if fields.get("kind") != "grant":
            own = {k: v for k, v in own.items() if k not in ("duration", "expires_at")}
        try:
            each = request(
                {**own, **fields}, asked_by=asked_by, now=now, source=Source.FILE, where=where
            )
        except RequestError as error:
            problems.append(str(error))
            continue
        found.append((each, "key" in fields))
    if problems:
        raise RequestError("\n".join(problems))
    return _keyed(found)


def read(path: Path, *, asked_by: Identity, now: datetime) -> list[Request]:
    """The requests of a file on disk. Raises RequestError."""
    try:
        if path.stat().st_size > LARGEST:
            raise RequestError(f"{path} is larger than {LARGEST >> 20} MB: split it")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RequestError(f"{path} cannot be read: {reason}") from None
    return requests(text, path.name, asked_by=asked_by, now=now)


def _keyed(found: Sequence[tuple[Request, bool]]) -> list[Request]:
    """Keys that follow from the whole content, for those that have none of their own."""
    documents = [
        {k: v for k, v in each.document().items() if own or k != "idempotency_key"}
        for each, own in found
    ]
    whole = canonical.digest(canonical.text(documents))
    return [
        each if own else each.model_copy(update={"idempotency_key": f"file-{whole[:40]}-{place}"})
        for place, (each, own) in enumerate(found)
    ]


def _begin(given: Any, now: datetime) -> datetime:
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            return now  # refused with the other fields
    if isinstance(given, datetime) and given.tzinfo is not None:
        return max(given, now)
    return now


def _lines(error: ValidationError, where: str) -> list[str]:
    lines = []
    for each in error.errors(include_url=False, include_context=False):
        # The tags of the unions are no fields.
        place = [str(part) for part in each["loc"] if part not in ("body",)]
        lines.append(f"{where}{'.'.join(place) or 'request'}: {each['msg']}")
    return lines
