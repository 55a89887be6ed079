"""Changing the tenant: the write gate, the ledger, who writes, where new passwords go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from entra_pipeline.settings import recipients
from entra_pipeline.settings.declared.base import Part, object_ids, plain_id, section, split
from entra_pipeline.settings.declared.operating import signed_address


class Provisioning(Part):
    """Everything about writing to the tenant."""

    requests_webhook_url: SecretStr | None = Field(
        None,
        description=(
            "Address that is told, as one signed JSON POST each, when access that was granted is "
            "about to end and when a request failed, diverged or needs a person "
            "(docs/provisioning.md). Needs ENTRA_EVENTS_WEBHOOK_SECRET."
        ),
        json_schema_extra=section("Provisioning"),
    )
    expiry_notice_hours: float = Field(
        72.0,
        gt=0,
        le=24 * 365,
        description=(
            "How long before its end a grant is told of; a grant shorter than twice that at half "
            "of its time."
        ),
        json_schema_extra=section("Provisioning"),
    )
    checkpoint_dir: Path | None = Field(
        None,
        description=(
            "Directory that each sync writes a signed checkpoint of the ledger's audit into: best "
            "one where files can be added and not changed. Needs ENTRA_CHECKPOINT_KEY_FILE."
        ),
        json_schema_extra=section("Provisioning"),
    )
    checkpoint_key_file: Path | None = Field(
        None,
        description=(
            "PEM file with the Ed25519 private key that checkpoints are signed with: `openssl "
            "genpkey -algorithm ed25519` makes one."
        ),
        json_schema_extra=section("Provisioning"),
    )
    provisioning: bool = Field(
        False,
        description=(
            "The write gate: whether anything may be written to the tenant at all. Requests can be "
            "filed and planned without it."
        ),
        json_schema_extra=section("Provisioning"),
    )
    ledger_url: SecretStr | None = Field(
        None,
        description=(
            "Where requests, plans, approvals and their audit are kept, as "
            "postgresql://user:password@host/name. Without it: `ledger.sqlite` in the data "
            "directory."
        ),
        json_schema_extra=section("Provisioning"),
    )
    policy_file: Path | None = Field(
        None,
        description=(
            "File that says who may ask for and approve what (docs/provisioning.md). Without it: "
            "`policy.yaml` in the data directory; without that file, the safe defaults."
        ),
        json_schema_extra=section("Provisioning"),
    )
    schedule_scim_provisioning: bool = Field(
        False,
        description=(
            "After a grant to an application that Entra ID makes accounts in, start its "
            "provisioning job, so that the account is there within minutes instead of at the next "
            "round (40 minutes). The writer needs Synchronization.ReadWrite.All."
        ),
        json_schema_extra=section("Provisioning"),
    )
    seal_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Public keys (age1…), separated by commas or spaces, of those who may read new "
            "passwords: they are sealed to these keys in `sealed` in the data directory. Without "
            "any, accounts are not made and passwords not changed. `age-keygen` makes a pair."
        ),
        json_schema_extra=section("Provisioning"),
    )
    vault: Literal["files", "azure", "hashicorp"] = Field(
        "files",
        description=(
            "Where sealed passwords are kept: `files` (`sealed` in the data directory), `azure` "
            "(Azure Key Vault) or `hashicorp` (HashiCorp Vault, KV version 2). The latter two need "
            "the extra `azure-vault` or `hashicorp-vault` to be installed."
        ),
        json_schema_extra=section("Provisioning"),
    )
    vault_unsealed: bool = Field(
        False,
        description=(
            "Let the vault keep new passwords as they are, for whoever it lets read them, instead "
            "of sealing them to ENTRA_SEAL_TO."
        ),
        json_schema_extra=section("Provisioning"),
    )
    azure_vault_url: str | None = Field(
        None,
        description=(
            "Address of the Key Vault, such as https://name.vault.azure.net. The writer signs in "
            "to it with its own secret or certificate."
        ),
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_url: str | None = Field(
        None,
        description="Address of HashiCorp Vault, such as https://vault.example.com:8200.",
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_token: SecretStr | None = Field(
        None,
        description="Token that may create and list secrets below ENTRA_HASHICORP_VAULT_PATH.",
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_token_file: Path | None = Field(
        None,
        description=(
            "File with that token, read anew for each use: what Vault's agent keeps up to date."
        ),
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_role_id: str = Field(
        "",
        description=(
            "Role id to sign in to HashiCorp Vault with (AppRole), instead of a token; with "
            "ENTRA_HASHICORP_VAULT_SECRET_ID."
        ),
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_secret_id: SecretStr | None = Field(
        None,
        description="Secret id of that role, which has to be good for more than one sign-in.",
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_approle_mount: str = Field(
        "approle",
        description="Where the AppRole sign-in is mounted, below `auth`.",
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_namespace: str | None = Field(
        None,
        description="Namespace of Vault Enterprise.",
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_mount: str = Field(
        "secret",
        description="Where the KV version 2 engine is mounted.",
        json_schema_extra=section("Provisioning"),
    )
    hashicorp_vault_path: str = Field(
        "entra-pipeline",
        description="Path below the mount that sealed passwords are kept under.",
        json_schema_extra=section("Provisioning"),
    )
    known_automation: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Users and applications that change access by themselves, such as a system of the "
            "personnel department: their object ids or application (client) ids, separated by "
            "commas or spaces. What they change is no drift."
        ),
        json_schema_extra=section("Provisioning"),
    )
    stop_file: Path | None = Field(
        None,
        description=(
            "File that stops all writing while it is there, whoever made it. Without it: "
            "`provisioning.stop` in the data directory."
        ),
        json_schema_extra=section("Provisioning"),
    )
    writer_client_id: str = Field(
        "",
        description=(
            "Application (client) id of the app registration that writes to the tenant, so that "
            "the one that reads it holds no permission to write."
        ),
        json_schema_extra=section("Provisioning"),
    )
    writer_client_secret: SecretStr | None = Field(
        None,
        description="The value of a client secret of the writer.",
        json_schema_extra=section("Provisioning"),
    )
    writer_client_certificate_path: Path | None = Field(
        None,
        description="PEM file with the writer's certificate; it may hold the private key too.",
        json_schema_extra=section("Provisioning"),
    )
    writer_client_certificate_key_path: Path | None = Field(
        None,
        description="PEM file with the private key of the writer's certificate.",
        json_schema_extra=section("Provisioning"),
    )
    writer_client_certificate_password: SecretStr | None = Field(
        None,
        description="Password of that private key, when it is encrypted.",
        json_schema_extra=section("Provisioning"),
    )
    writer_is_reader: bool = Field(
        False,
        description="Write with the application that reads: the writer has no credential.",
        json_schema_extra=section("Provisioning"),
    )
    sign_in_client_id: str = Field(
        "",
        description=(
            "Application that people sign in to by device code, to be known when they ask and "
            "approve; it allows public client flows. Without it: ENTRA_CLIENT_ID."
        ),
        json_schema_extra=section("Provisioning"),
    )
    verify_reads: int = Field(
        5,
        ge=1,
        description="Reads in a row that must agree before a write counts as confirmed.",
        json_schema_extra=section("Provisioning"),
    )
    verify_every_seconds: float = Field(
        5.0,
        gt=0,
        description="Time between two of those reads.",
        json_schema_extra=section("Provisioning"),
    )

    @field_validator("writer_client_id", "sign_in_client_id", mode="after")
    @classmethod
    def _plain_writer_id(cls, value: str) -> str:
        return plain_id(value)

    @field_validator("known_automation", "seal_to", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return split(value)

    @field_validator("known_automation", mode="after")
    @classmethod
    def _automation_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return object_ids(value)

    @field_validator("seal_to", mode="after")
    @classmethod
    def _public_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return recipients.check(value) if value else ()

    @field_validator("azure_vault_url", "hashicorp_vault_url", mode="after")
    @classmethod
    def _vault_https(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https://[^/\s]+/?$", value):
            raise ValueError("not an address such as https://name.example.com")
        return None if value is None else value.rstrip("/")

    @field_validator("requests_webhook_url", mode="after")
    @classmethod
    def _signed_requests(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return signed_address(value, info)
