"""JSON bodies that are almost right: mended where that loses nothing, else told apart. Pure.

Belongs here: what every kind of answer may suffer from. Does not belong here: what a body must
hold (`paging`, `batch`).
"""

from __future__ import annotations

import re

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a body that is not JSON, or nested beyond any sense."""

_MARK = b"\xef\xbb\xbf"
# Every escape in turn, so that an escaped backslash never lends its second half to the next one.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|(?P<lone>u[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def mend(body: bytes) -> bytes:
    """The body without a byte order mark, halves of surrogate pairs replaced by U+FFFD.

    Half a pair is what is left of an emoji at the end of a name that some directory cut to length;
    one such name must not cost the page. A body that needs no mending comes back as it is.
    """
    return _ESCAPE.sub(_whole, body.removeprefix(_MARK))


def _whole(match: re.Match[bytes]) -> bytes:
    text = match.group()
    is_half = match["lone"] is not None or (len(text) == 6 and match["low"] is None)
    return b"\\ufffd" if is_half else text


def reason(error: Exception) -> str:
    """Why a body is no JSON, without any of it."""
    # msgspec quotes no data; a UnicodeDecodeError does.
    if isinstance(error, msgspec.DecodeError):
        return str(error)
    return "nested too deep" if isinstance(error, RecursionError) else "not UTF-8"
