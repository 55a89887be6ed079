"""Times as people type them: `2026-11-01`, `yesterday`, `3 days ago`, RFC 3339, a sync's id.

Here belongs what such a text means, and nothing of what was true at the time. Everything is UTC,
as everything that is printed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from entra_pipeline.cli.exits import CliError

FORMS: Final = (
    "Times are given as 2026-11-01 (its beginning, UTC), 2026-11-01T12:00:00Z, 'yesterday', "
    "'3 days ago', or the id of a sync."
)
SYNC_ID: Final = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-[0-9a-f]{8}")
OBJECT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OBJECT_IDS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGO: Final = re.compile(r"(\d{1,6}) (minute|hour|day|week)s? ago")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Answer from what was published at that time: 2026-11-01, 'yesterday', '3 days ago'.",
        show_default=False,
    ),
]


def parse(text: str, *, now: datetime | None = None) -> datetime:
    """The moment that a text means, in UTC; of a day its beginning, of a sync's id its start.

    A time without a zone is UTC. Raises CliError for anything else, and for a time to come: what
    will be true then is not known.
    """
    now = now or datetime.now(UTC)
    moment = _meant(" ".join(text.split()), now)
    if moment is None:
        raise CliError(f"{text!r} is not a time", remedy=FORMS)
    if moment > now:
        raise CliError(f"{text!r} is in the future ({moment:%Y-%m-%d %H:%M} UTC)", remedy=FORMS)
    return moment


def _meant(text: str, now: datetime) -> datetime | None:
    word = text.lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return now
    if word == "today":
        return midnight
    if word == "yesterday":
        return midnight - timedelta(days=1)
    if ago := _AGO.fullmatch(word):
        return _back(now, int(ago[1]), f"{ago[2]}s")
    if named := SYNC_ID.fullmatch(text):
        return datetime.strptime(named[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    if not _DATE.match(text):
        # Python also reads 20261101 and 2026-W44: too easily mistyped for something else.
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _back(now: datetime, number: int, unit: str) -> datetime | None:
    try:
        return now - timedelta(**{unit: number})
    except OverflowError:
        return None
