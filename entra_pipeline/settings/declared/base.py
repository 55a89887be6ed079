"""What all declarations share: how they are named, and the kinds of credential.

Does not belong here: any setting.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "ENTRA_"
GUID: Final = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"


class Auth(StrEnum):
    """Kinds of credential."""

    SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
    CERTIFICATE = "certificate"
    MANAGED_IDENTITY = "managed_identity"
    WORKLOAD_IDENTITY = "workload_identity"
    DEVICE_CODE = "device_code"


class Part(BaseSettings):
    """Settings of one subject."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        validate_default=True,
    )


def section(name: str) -> dict[str, Any]:
    """Under which heading of the reference a setting stands."""
    return {"section": name}


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def split(value: Any) -> Any:
    """Several values in one text, between commas, semicolons or spaces."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[\s,;]+", value) if part)
    return value


def object_ids(value: tuple[str, ...]) -> tuple[str, ...]:
    """Object ids in lower case. Raises ValueError for what is none."""
    for part in value:
        if not re.fullmatch(GUID, part):
            raise ValueError(f"{part!r} is not an object id (GUID)")
    return tuple(part.lower() for part in value)


def plain_id(value: str) -> str:
    """An id or a domain's name. Raises ValueError for what is none, or stands for any tenant."""
    value = value.strip()
    if value and not re.fullmatch(r"[A-Za-z0-9.-]+", value):
        raise ValueError("not an id (GUID) or a domain name")
    if value.lower() in {"common", "organizations", "consumers"}:
        raise ValueError("one tenant must be named: its directory id or a verified domain")
    return value
