"""The reference of settings and `.env.example`, written from the declarations.

`python -m entra_pipeline.settings_reference` writes both; a test fails when they are stale. Belongs
here: layout of the two texts. Does not belong here: what a setting means (`settings.declared`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from entra_pipeline.clouds import CLOUDS
from entra_pipeline.settings import Settings, variable

ROOT = Path(__file__).parents[1]
REFERENCE = Path("docs/settings.md")
EXAMPLE = Path(".env.example")

_THREE = ("tenant_id", "client_id", "client_secret")
"""The values that most people fill; they stand uncommented in the example."""


def sections() -> dict[str, dict[str, FieldInfo]]:
    """Fields by section, in the order of their declaration."""
    found: dict[str, dict[str, FieldInfo]] = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        section = str(extra["section"]) if isinstance(extra, dict) else "Other"
        found.setdefault(section, {})[name] = field
    return found


def reference() -> str:
    """The text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Read from the environment, or from a `.env` file in the working directory (the",
        "environment wins). `entra-pipeline doctor` checks them. This page is written from",
        "`entra_pipeline/settings/declared` by `make docs`.",
        "",
    ]
    for section, fields in sections().items():
        lines += [
            f"## {section}",
            "",
            "| Variable | Value | Default | Meaning |",
            "|---|---|---|---|",
        ]
        for name, field in fields.items():
            cells = (f"`{variable(name)}`", _kind(field), _default(field), field.description or "")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "## Clouds",
        "",
        "| `ENTRA_CLOUD` | Microsoft Graph | Authority | Exchange Online |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{cloud}` | {e.graph_url} | {e.authority_url} | {e.exchange_url} |"
        for cloud, e in CLOUDS.items()
    ]
    return "\n".join([*lines, ""])


def example() -> str:
    """The text of .env.example."""
    lines = [
        "# Copy to .env, which git ignores, and fill in the first three values.",
        "# docs/settings.md describes every variable; `entra-pipeline doctor` checks them.",
        "",
    ]
    for section, fields in sections().items():
        lines += [f"# ---- {section} ".ljust(100, "-"), ""]
        for name, field in fields.items():
            lines += [f"# {line}" for line in _wrap(field.description or "")]
            mark = "" if name in _THREE else "# "
            lines += [f"{mark}{variable(name)}={_plain_default(field)}", ""]
    return "\n".join(lines)


def _wrap(text: str, width: int = 96) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _kind(field: FieldInfo) -> str:
    kinds = [k for k in _flatten(field.annotation) if k is not NoneType]
    words = [_word(kind) for kind in kinds]
    return ", ".join(words)


def _flatten(kind: Any) -> list[Any]:
    if get_origin(kind) in {Union, UnionType}:
        return [each for part in get_args(kind) for each in _flatten(part)]
    if get_origin(kind) is Annotated:
        return _flatten(get_args(kind)[0])
    return [kind]


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return "list"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    return {
        bool: "`true`, `false`",
        int: "whole number",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
    }.get(kind, str(kind))


def _default(field: FieldInfo) -> str:
    text = _plain_default(field)
    return f"`{text}`" if text else ""


def _plain_default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == () or value == "":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Write both files."""
    for path, text in ((REFERENCE, reference()), (EXAMPLE, example())):
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
