"""Being told, keeping records, logging."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from entra_pipeline.settings.declared.base import Part, section


def signed_address(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """An address of a listener, which needs the secret that events are signed with; ValueError."""
    if value is None:
        return value
    if not re.match(r"https?://[^/]", value.get_secret_value()):
        raise ValueError("not an address that begins with https:// or http://")
    # Absent from the data: it was refused, which is said already.
    if info.data.get("events_webhook_secret", "") is None:
        raise ValueError("without ENTRA_EVENTS_WEBHOOK_SECRET events cannot be signed")
    return value


class Operating(Part):
    """Alerts, events, records, logs."""

    alert_webhook_url: SecretStr | None = Field(
        None,
        description=(
            "Address that failed runs and emergency access are reported to, as one JSON POST each."
        ),
        json_schema_extra=section("Operation"),
    )
    events_webhook_secret: SecretStr | None = Field(
        None,
        description=(
            "Secret that events are signed with; at least 16 characters. docs/events.md says how "
            "the listener checks it."
        ),
        json_schema_extra=section("Operation"),
    )
    events_webhook_url: SecretStr | None = Field(
        None,
        description=(
            "Address that each change of access heard by the event feed is told to, as one signed "
            "JSON POST. Needs ENTRA_EVENTS_WEBHOOK_SECRET."
        ),
        json_schema_extra=section("Operation"),
    )
    events_days: int = Field(
        30,
        ge=1,
        description="Days for which the event feed keeps its events.",
        json_schema_extra=section("Operation"),
    )
    dagster_run_days: int = Field(
        14,
        ge=0,
        description=(
            "Days after which `maintain` removes ended runs and their logs from Dagster's records "
            "(a run takes about 2 MB); the last run of each table stays. 0 keeps them for ever."
        ),
        json_schema_extra=section("Operation"),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="Lowest level of log lines written to standard error.",
        json_schema_extra=section("Operation"),
    )

    @field_validator("events_webhook_secret", mode="after")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("shorter than 16 characters")
        return value

    @field_validator("events_webhook_url", mode="after")
    @classmethod
    def _signed(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return signed_address(value, info)
