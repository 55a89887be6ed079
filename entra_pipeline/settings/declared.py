"""Every setting: its name, type, default, description, and what makes a value wrong by itself.

Does not belong here: reading the environment (`loaded`), what a sign-in needs altogether
(`sign_in`), the clouds' addresses (`clouds`). The order is that of `docs/settings.md`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from entra_pipeline.clouds import Cloud, parse_origin
from entra_pipeline.settings import recipients

PREFIX = "ENTRA_"


class Auth(StrEnum):
    """Kinds of credential."""

    SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
    CERTIFICATE = "certificate"
    MANAGED_IDENTITY = "managed_identity"
    WORKLOAD_IDENTITY = "workload_identity"
    DEVICE_CODE = "device_code"


def _section(name: str) -> dict[str, Any]:
    return {"section": name}


class Declared(BaseSettings):
    """The declarations; what is used everywhere is `Settings`, which can also load them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    # Sign-in
    tenant_id: str = Field(
        "",
        description="The tenant: its directory id (GUID) or one of its verified domains.",
        json_schema_extra=_section("Sign-in"),
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    client_id: str = Field(
        "",
        description=(
            "Application (client) id of the app registration that reads the tenant. Optional for "
            "a managed identity: without it the system-assigned identity is used."
        ),
        json_schema_extra=_section("Sign-in"),
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    auth: Auth | None = Field(
        None,
        description=(
            "Kind of credential. May be left out when exactly one complete set of credentials is "
            "given; needed for managed_identity and device_code, and when several are given."
        ),
        json_schema_extra=_section("Sign-in"),
    )
    client_secret: SecretStr | None = Field(
        None,
        description="The value (not the id) of a client secret of the app registration.",
        json_schema_extra=_section("Sign-in"),
    )
    client_certificate_path: Path | None = Field(
        None,
        description=(
            "PEM file with the certificate registered on the app; it may hold the private key too."
        ),
        json_schema_extra=_section("Sign-in"),
    )
    client_certificate_key_path: Path | None = Field(
        None,
        description="PEM file with the certificate's private key, when it is a file of its own.",
        json_schema_extra=_section("Sign-in"),
    )
    client_certificate_password: SecretStr | None = Field(
        None,
        description="Password of the private key, when it is encrypted.",
        json_schema_extra=_section("Sign-in"),
    )
    federated_token_file: Path | None = Field(
        None,
        validation_alias=AliasChoices("ENTRA_FEDERATED_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"),
        description=(
            "File with the federated token (workload identity). It is read anew for each sign-in, "
            "because Kubernetes replaces it. AZURE_FEDERATED_TOKEN_FILE is read when this is unset."
        ),
        json_schema_extra=_section("Sign-in"),
    )

    # Cloud
    cloud: Cloud = Field(
        Cloud.GLOBAL,
        description="Microsoft's cloud in which the tenant lives.",
        json_schema_extra=_section("Cloud and network"),
    )
    graph_url: str | None = Field(
        None,
        description=(
            "Microsoft Graph's address instead of the cloud's own, as scheme://host:port; a "
            "trailing slash or /v1.0 is tolerated. Plain http is accepted on loopback only."
        ),
        json_schema_extra=_section("Cloud and network"),
    )
    authority_url: str | None = Field(
        None,
        description="The sign-in authority's address instead of the cloud's own (https).",
        json_schema_extra=_section("Cloud and network"),
    )
    exchange_url: str | None = Field(
        None,
        description="Exchange Online's address instead of the cloud's own.",
        json_schema_extra=_section("Cloud and network"),
    )
    ca_bundle: Path | None = Field(
        None,
        description=(
            "PEM file of the certificate authorities to trust. Wins over REQUESTS_CA_BUNDLE, "
            "CURL_CA_BUNDLE and SSL_CERT_FILE, which are read in this order when it is unset. "
            "Proxies follow HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
        ),
        json_schema_extra=_section("Cloud and network"),
    )
    concurrency: int = Field(
        8,
        ge=1,
        le=64,
        description="Round trips to Microsoft Graph in flight at once.",
        json_schema_extra=_section("Cloud and network"),
    )
    resource_units_per_10s: int = Field(
        8000,
        ge=100,
        description=(
            "Resource units per 10 seconds to begin with: Microsoft's documented limit for a "
            "tenant of more than 500 users (5,000 from 50, 3,500 below). The pace then follows "
            "what Graph's throttle headers say."
        ),
        json_schema_extra=_section("Cloud and network"),
    )
    connect_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="Longest wait for a connection.",
        json_schema_extra=_section("Cloud and network"),
    )
    read_timeout_seconds: float = Field(
        120.0,
        gt=0,
        description="Longest silence while waiting for an answer.",
        json_schema_extra=_section("Cloud and network"),
    )
    max_attempts: int = Field(
        8,
        ge=1,
        description="Attempts at one request before its failure is believed.",
        json_schema_extra=_section("Cloud and network"),
    )
    max_wait_seconds: float = Field(
        900.0,
        ge=0,
        description="Longest total pause of one request for throttling and retries.",
        json_schema_extra=_section("Cloud and network"),
    )

    # Data
    data_dir: Path = Field(
        Path("data"),
        description=(
            "Directory of the lake, the warehouse and the books. It belongs to one tenant and to "
            "its owner alone (0700)."
        ),
        json_schema_extra=_section("Data"),
    )
    shrink_limit_percent: int = Field(
        50,
        ge=1,
        le=100,
        description=(
            "A table that comes back smaller by more than this percentage is quarantined: its "
            "published version stays, until `sync --accept-shrink TABLE`."
        ),
        json_schema_extra=_section("Data"),
    )
    shrink_floor_rows: int = Field(
        20,
        ge=0,
        description=(
            "Tables with fewer published rows than this are not judged by shrinkage, unless they "
            "come back empty."
        ),
        json_schema_extra=_section("Data"),
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
        json_schema_extra=_section("Data"),
    )
    history_days: int = Field(
        400,
        ge=0,
        description=(
            "Days for which it is kept what changed in the tables, and which sync saw it; "
            "`maintain` drops what is older. No question can be asked about the time before. "
            "0 keeps it for ever."
        ),
        json_schema_extra=_section("Data"),
    )

    # What is read
    pim_groups: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Object ids, separated by commas, of groups managed by PIM for groups. "
            "Role-assignable groups are always asked about; Graph cannot list the others."
        ),
        json_schema_extra=_section("What is read"),
    )
    skip_ad_groups: bool = Field(
        False,
        description=(
            "Leave out groups synced from Active Directory; users synced from there are then "
            "left out of cloud groups' members as well, unless "
            "ENTRA_INCLUDE_ON_PREM_GROUP_MEMBERS is on."
        ),
        json_schema_extra=_section("What is read"),
    )
    include_on_prem_group_members: bool = Field(
        False,
        description="With ENTRA_SKIP_AD_GROUPS, keep synced users among cloud groups' members.",
        json_schema_extra=_section("What is read"),
    )
    sign_in_activity: bool = Field(
        False,
        description=(
            "Read users' last sign-in times (P1 or P2 licence; 10 requests a minute, so 100,000 "
            "users take 20 minutes)."
        ),
        json_schema_extra=_section("What is read"),
    )
    on_premises_extension_attributes: bool = Field(
        False,
        description="Read extensionAttribute1 to 15 of users.",
        json_schema_extra=_section("What is read"),
    )
    skip_unassigned_apps: bool = Field(
        False,
        description=(
            "Leave out enterprise applications that nobody is assigned to and that do not "
            "require assignment."
        ),
        json_schema_extra=_section("What is read"),
    )

    exchange: bool = Field(
        False,
        description=(
            "Reach Exchange Online: read `exchange_groups`, and change members and owners of "
            "distribution lists and mail-enabled security groups. The applications need "
            "Exchange.ManageAsApp and a directory role (docs/provisioning.md)."
        ),
        json_schema_extra=_section("What is read"),
    )

    # Activity
    disable_audit_log_feed: bool = Field(
        False,
        description=(
            "Never read sign-ins, directory audits and provisioning events: for tenants and "
            "clouds without them."
        ),
        json_schema_extra=_section("Activity"),
    )
    activity_overlap_minutes: int = Field(
        60,
        ge=0,
        le=24 * 60,
        description=(
            "How late an event may appear in Microsoft's logs. The last so many minutes before a "
            "reading are read again by the next one."
        ),
        json_schema_extra=_section("Activity"),
    )
    activity_window_minutes: int = Field(
        60,
        ge=1,
        le=24 * 60,
        description=(
            "Span of time to ask for at once, to begin with. It halves when Graph throttles or "
            "does not answer in time, and grows where there are few events."
        ),
        json_schema_extra=_section("Activity"),
    )
    activity_retention_days: int = Field(
        400,
        ge=1,
        description="Days for which events are kept here; Microsoft keeps them for 7 or 30.",
        json_schema_extra=_section("Activity"),
    )

    # Operation
    alert_webhook_url: SecretStr | None = Field(
        None,
        description=(
            "Address that failed runs and emergency access are reported to, as one JSON POST each."
        ),
        json_schema_extra=_section("Operation"),
    )
    events_webhook_secret: SecretStr | None = Field(
        None,
        description=(
            "Secret that events are signed with; at least 16 characters. docs/events.md says how "
            "the listener checks it."
        ),
        json_schema_extra=_section("Operation"),
    )
    events_webhook_url: SecretStr | None = Field(
        None,
        description=(
            "Address that each change of access heard by the event feed is told to, as one signed "
            "JSON POST. Needs ENTRA_EVENTS_WEBHOOK_SECRET."
        ),
        json_schema_extra=_section("Operation"),
    )
    events_days: int = Field(
        30,
        ge=1,
        description="Days for which the event feed keeps its events.",
        json_schema_extra=_section("Operation"),
    )
    dagster_run_days: int = Field(
        14,
        ge=0,
        description=(
            "Days after which `maintain` removes ended runs and their logs from Dagster's records "
            "(a run takes about 2 MB); the last run of each table stays. 0 keeps them for ever."
        ),
        json_schema_extra=_section("Operation"),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="Lowest level of log lines written to standard error.",
        json_schema_extra=_section("Operation"),
    )

    # Provisioning
    requests_webhook_url: SecretStr | None = Field(
        None,
        description=(
            "Address that is told, as one signed JSON POST each, when access that was granted is "
            "about to end and when a request failed, diverged or needs a person "
            "(docs/provisioning.md). Needs ENTRA_EVENTS_WEBHOOK_SECRET."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    expiry_notice_hours: float = Field(
        72.0,
        gt=0,
        le=24 * 365,
        description=(
            "How long before its end a grant is told of; a grant shorter than twice that at half "
            "of its time."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    checkpoint_dir: Path | None = Field(
        None,
        description=(
            "Directory that each sync writes a signed checkpoint of the ledger's audit into: best "
            "one where files can be added and not changed. Needs ENTRA_CHECKPOINT_KEY_FILE."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    checkpoint_key_file: Path | None = Field(
        None,
        description=(
            "PEM file with the Ed25519 private key that checkpoints are signed with: `openssl "
            "genpkey -algorithm ed25519` makes one."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    provisioning: bool = Field(
        False,
        description=(
            "The write gate: whether anything may be written to the tenant at all. Requests can be "
            "filed and planned without it."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    ledger_url: SecretStr | None = Field(
        None,
        description=(
            "Where requests, plans, approvals and their audit are kept, as "
            "postgresql://user:password@host/name. Without it: `ledger.sqlite` in the data "
            "directory."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    policy_file: Path | None = Field(
        None,
        description=(
            "File that says who may ask for and approve what (docs/provisioning.md). Without it: "
            "`policy.yaml` in the data directory; without that file, the safe defaults."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    schedule_scim_provisioning: bool = Field(
        False,
        description=(
            "After a grant to an application that Entra ID makes accounts in, start its "
            "provisioning job, so that the account is there within minutes instead of at the next "
            "round (40 minutes). The writer needs Synchronization.ReadWrite.All."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    seal_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Public keys (age1…), separated by commas or spaces, of those who may read new "
            "passwords: they are sealed to these keys in `sealed` in the data directory. Without "
            "any, accounts are not made and passwords not changed. `age-keygen` makes a pair."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    vault: Literal["files", "azure", "hashicorp"] = Field(
        "files",
        description=(
            "Where sealed passwords are kept: `files` (`sealed` in the data directory), `azure` "
            "(Azure Key Vault) or `hashicorp` (HashiCorp Vault, KV version 2). The latter two need "
            "the extra `azure-vault` or `hashicorp-vault` to be installed."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    vault_unsealed: bool = Field(
        False,
        description=(
            "Let the vault keep new passwords as they are, for whoever it lets read them, instead "
            "of sealing them to ENTRA_SEAL_TO."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    azure_vault_url: str | None = Field(
        None,
        description=(
            "Address of the Key Vault, such as https://name.vault.azure.net. The writer signs in "
            "to it with its own secret or certificate."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_url: str | None = Field(
        None,
        description="Address of HashiCorp Vault, such as https://vault.example.com:8200.",
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_token: SecretStr | None = Field(
        None,
        description="Token that may create and list secrets below ENTRA_HASHICORP_VAULT_PATH.",
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_token_file: Path | None = Field(
        None,
        description=(
            "File with that token, read anew for each use: what Vault's agent keeps up to date."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_role_id: str = Field(
        "",
        description=(
            "Role id to sign in to HashiCorp Vault with (AppRole), instead of a token; with "
            "ENTRA_HASHICORP_VAULT_SECRET_ID."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_secret_id: SecretStr | None = Field(
        None,
        description="Secret id of that role, which has to be good for more than one sign-in.",
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_approle_mount: str = Field(
        "approle",
        description="Where the AppRole sign-in is mounted, below `auth`.",
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_namespace: str | None = Field(
        None,
        description="Namespace of Vault Enterprise.",
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_mount: str = Field(
        "secret",
        description="Where the KV version 2 engine is mounted.",
        json_schema_extra=_section("Provisioning"),
    )
    hashicorp_vault_path: str = Field(
        "entra-pipeline",
        description="Path below the mount that sealed passwords are kept under.",
        json_schema_extra=_section("Provisioning"),
    )
    known_automation: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Users and applications that change access by themselves, such as a system of the "
            "personnel department: their object ids or application (client) ids, separated by "
            "commas or spaces. What they change is no drift."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    stop_file: Path | None = Field(
        None,
        description=(
            "File that stops all writing while it is there, whoever made it. Without it: "
            "`provisioning.stop` in the data directory."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    writer_client_id: str = Field(
        "",
        description=(
            "Application (client) id of the app registration that writes to the tenant, so that "
            "the one that reads it holds no permission to write."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    writer_client_secret: SecretStr | None = Field(
        None,
        description="The value of a client secret of the writer.",
        json_schema_extra=_section("Provisioning"),
    )
    writer_client_certificate_path: Path | None = Field(
        None,
        description="PEM file with the writer's certificate; it may hold the private key too.",
        json_schema_extra=_section("Provisioning"),
    )
    writer_client_certificate_key_path: Path | None = Field(
        None,
        description="PEM file with the private key of the writer's certificate.",
        json_schema_extra=_section("Provisioning"),
    )
    writer_client_certificate_password: SecretStr | None = Field(
        None,
        description="Password of that private key, when it is encrypted.",
        json_schema_extra=_section("Provisioning"),
    )
    writer_is_reader: bool = Field(
        False,
        description="Write with the application that reads: the writer has no credential.",
        json_schema_extra=_section("Provisioning"),
    )
    sign_in_client_id: str = Field(
        "",
        description=(
            "Application that people sign in to by device code, to be known when they ask and "
            "approve; it allows public client flows. Without it: ENTRA_CLIENT_ID."
        ),
        json_schema_extra=_section("Provisioning"),
    )
    verify_reads: int = Field(
        5,
        ge=1,
        description="Reads in a row that must agree before a write counts as confirmed.",
        json_schema_extra=_section("Provisioning"),
    )
    verify_every_seconds: float = Field(
        5.0,
        gt=0,
        description="Time between two of those reads.",
        json_schema_extra=_section("Provisioning"),
    )

    @field_validator(
        "tenant_id", "client_id", "writer_client_id", "sign_in_client_id", mode="after"
    )
    @classmethod
    def _plain_id(cls, value: str) -> str:
        value = value.strip()
        if value and not re.fullmatch(r"[A-Za-z0-9.-]+", value):
            raise ValueError("not an id (GUID) or a domain name")
        if value.lower() in {"common", "organizations", "consumers"}:
            raise ValueError("one tenant must be named: its directory id or a verified domain")
        return value

    @field_validator("pim_groups", "known_automation", "seal_to", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part for part in re.split(r"[\s,;]+", value) if part)
        return value

    @field_validator("pim_groups", "known_automation", mode="after")
    @classmethod
    def _object_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if not re.fullmatch(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", part):
                raise ValueError(f"{part!r} is not an object id (GUID)")
        return tuple(part.lower() for part in value)

    @field_validator("seal_to", mode="after")
    @classmethod
    def _public_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return recipients.check(value) if value else ()

    @field_validator("graph_url", "authority_url", "exchange_url", mode="after")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        return None if value is None else parse_origin(value)

    @field_validator("azure_vault_url", "hashicorp_vault_url", mode="after")
    @classmethod
    def _vault_https(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https://[^/\s]+/?$", value):
            raise ValueError("not an address such as https://name.example.com")
        return None if value is None else value.rstrip("/")

    @field_validator("authority_url", mode="after")
    @classmethod
    def _authority_https(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("https:"):
            raise ValueError("the sign-in authority must be https (MSAL refuses anything else)")
        return value

    @field_validator("ca_bundle", mode="after")
    @classmethod
    def _existing_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"{value} is not a file")
        return value

    @field_validator("events_webhook_secret", mode="after")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("shorter than 16 characters")
        return value

    @field_validator("events_webhook_url", "requests_webhook_url", mode="after")
    @classmethod
    def _signed(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return value
        if not re.match(r"https?://[^/]", value.get_secret_value()):
            raise ValueError("not an address that begins with https:// or http://")
        # Absent from the data: it was refused, which is said already.
        if info.data.get("events_webhook_secret", "") is None:
            raise ValueError("without ENTRA_EVENTS_WEBHOOK_SECRET events cannot be signed")
        return value

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's file in the data directory; None for a ledger that is elsewhere."""
        return self.data_dir.absolute() / "ledger.sqlite" if self.ledger_url is None else None


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()
