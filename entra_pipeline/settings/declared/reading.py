"""What is read, where it is kept, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from entra_pipeline.settings.declared.base import Part, object_ids, section, split


class Reading(Part):
    """Data, what is read, activity."""

    # Data
    data_dir: Path = Field(
        Path("data"),
        description=(
            "Directory of the lake, the warehouse and the books. It belongs to one tenant and to "
            "its owner alone (0700)."
        ),
        json_schema_extra=section("Data"),
    )
    shrink_limit_percent: int = Field(
        50,
        ge=1,
        le=100,
        description=(
            "A table that comes back smaller by more than this percentage is quarantined: its "
            "published version stays, until `sync --accept-shrink TABLE`."
        ),
        json_schema_extra=section("Data"),
    )
    shrink_floor_rows: int = Field(
        20,
        ge=0,
        description=(
            "Tables with fewer published rows than this are not judged by shrinkage, unless they "
            "come back empty."
        ),
        json_schema_extra=section("Data"),
    )

    full_read_days: float = Field(
        6.0,
        ge=0,
        le=7,
        description=(
            "Days after which a table that is kept by what changed is read whole again; 0 reads "
            "everything whole every time, as `sync --full` does once. Microsoft Graph remembers "
            "changes for 7 days."
        ),
        json_schema_extra=section("Data"),
    )
    history_days: int = Field(
        400,
        ge=0,
        description=(
            "Days for which it is kept what changed in the tables, and which sync saw it; "
            "`maintain` drops what is older. No question can be asked about the time before. "
            "0 keeps it for ever."
        ),
        json_schema_extra=section("Data"),
    )

    # What is read
    pim_groups: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Object ids, separated by commas, of groups managed by PIM for groups. "
            "Role-assignable groups are always asked about; Graph cannot list the others."
        ),
        json_schema_extra=section("What is read"),
    )
    skip_ad_groups: bool = Field(
        False,
        description=(
            "Leave out groups synced from Active Directory; users synced from there are then "
            "left out of cloud groups' members as well, unless "
            "ENTRA_INCLUDE_ON_PREM_GROUP_MEMBERS is on."
        ),
        json_schema_extra=section("What is read"),
    )
    include_on_prem_group_members: bool = Field(
        False,
        description="With ENTRA_SKIP_AD_GROUPS, keep synced users among cloud groups' members.",
        json_schema_extra=section("What is read"),
    )
    sign_in_activity: bool = Field(
        False,
        description=(
            "Read users' last sign-in times (P1 or P2 licence; 10 requests a minute, so 100,000 "
            "users take 20 minutes)."
        ),
        json_schema_extra=section("What is read"),
    )
    on_premises_extension_attributes: bool = Field(
        False,
        description="Read extensionAttribute1 to 15 of users.",
        json_schema_extra=section("What is read"),
    )
    skip_unassigned_apps: bool = Field(
        False,
        description=(
            "Leave out enterprise applications that nobody is assigned to and that do not "
            "require assignment."
        ),
        json_schema_extra=section("What is read"),
    )

    exchange: bool = Field(
        False,
        description=(
            "Reach Exchange Online: read `exchange_groups`, and change members and owners of "
            "distribution lists and mail-enabled security groups. The applications need "
            "Exchange.ManageAsApp and a directory role (docs/provisioning.md)."
        ),
        json_schema_extra=section("What is read"),
    )

    # Activity
    disable_audit_log_feed: bool = Field(
        False,
        description=(
            "Never read sign-ins, directory audits and provisioning events: for tenants and "
            "clouds without them."
        ),
        json_schema_extra=section("Activity"),
    )
    activity_overlap_minutes: int = Field(
        60,
        ge=0,
        le=24 * 60,
        description=(
            "How late an event may appear in Microsoft's logs. The last so many minutes before a "
            "reading are read again by the next one."
        ),
        json_schema_extra=section("Activity"),
    )
    activity_window_minutes: int = Field(
        60,
        ge=1,
        le=24 * 60,
        description=(
            "Span of time to ask for at once, to begin with. It halves when Graph throttles or "
            "does not answer in time, and grows where there are few events."
        ),
        json_schema_extra=section("Activity"),
    )
    activity_retention_days: int = Field(
        400,
        ge=1,
        description="Days for which events are kept here; Microsoft keeps them for 7 or 30.",
        json_schema_extra=section("Activity"),
    )

    @field_validator("pim_groups", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split(value)

    @field_validator("pim_groups", mode="after")
    @classmethod
    def _object_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return object_ids(value)
