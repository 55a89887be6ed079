"""How the tenant is reached: sign-in, cloud, network."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator

from entra_pipeline.clouds import Cloud, parse_origin
from entra_pipeline.settings.declared.base import Auth, Part, plain_id, section


class Connecting(Part):
    """Sign-in, cloud and network."""

    # Sign-in
    tenant_id: str = Field(
        "",
        description="The tenant: its directory id (GUID) or one of its verified domains.",
        json_schema_extra=section("Sign-in"),
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    client_id: str = Field(
        "",
        description=(
            "Application (client) id of the app registration that reads the tenant. Optional for "
            "a managed identity: without it the system-assigned identity is used."
        ),
        json_schema_extra=section("Sign-in"),
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    auth: Auth | None = Field(
        None,
        description=(
            "Kind of credential. May be left out when exactly one complete set of credentials is "
            "given; needed for managed_identity and device_code, and when several are given."
        ),
        json_schema_extra=section("Sign-in"),
    )
    client_secret: SecretStr | None = Field(
        None,
        description="The value (not the id) of a client secret of the app registration.",
        json_schema_extra=section("Sign-in"),
    )
    client_certificate_path: Path | None = Field(
        None,
        description=(
            "PEM file with the certificate registered on the app; it may hold the private key too."
        ),
        json_schema_extra=section("Sign-in"),
    )
    client_certificate_key_path: Path | None = Field(
        None,
        description="PEM file with the certificate's private key, when it is a file of its own.",
        json_schema_extra=section("Sign-in"),
    )
    client_certificate_password: SecretStr | None = Field(
        None,
        description="Password of the private key, when it is encrypted.",
        json_schema_extra=section("Sign-in"),
    )
    federated_token_file: Path | None = Field(
        None,
        validation_alias=AliasChoices("ENTRA_FEDERATED_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"),
        description=(
            "File with the federated token (workload identity). It is read anew for each sign-in, "
            "because Kubernetes replaces it. AZURE_FEDERATED_TOKEN_FILE is read when this is unset."
        ),
        json_schema_extra=section("Sign-in"),
    )

    # Cloud
    cloud: Cloud = Field(
        Cloud.GLOBAL,
        description="Microsoft's cloud in which the tenant lives.",
        json_schema_extra=section("Cloud and network"),
    )
    graph_url: str | None = Field(
        None,
        description=(
            "Microsoft Graph's address instead of the cloud's own, as scheme://host:port; a "
            "trailing slash or /v1.0 is tolerated. Plain http is accepted on loopback only."
        ),
        json_schema_extra=section("Cloud and network"),
    )
    authority_url: str | None = Field(
        None,
        description="The sign-in authority's address instead of the cloud's own (https).",
        json_schema_extra=section("Cloud and network"),
    )
    exchange_url: str | None = Field(
        None,
        description="Exchange Online's address instead of the cloud's own.",
        json_schema_extra=section("Cloud and network"),
    )
    ca_bundle: Path | None = Field(
        None,
        description=(
            "PEM file of the certificate authorities to trust. Wins over REQUESTS_CA_BUNDLE, "
            "CURL_CA_BUNDLE and SSL_CERT_FILE, which are read in this order when it is unset. "
            "Proxies follow HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
        ),
        json_schema_extra=section("Cloud and network"),
    )
    concurrency: int = Field(
        8,
        ge=1,
        le=64,
        description="Round trips to Microsoft Graph in flight at once.",
        json_schema_extra=section("Cloud and network"),
    )
    resource_units_per_10s: int = Field(
        8000,
        ge=100,
        description=(
            "Resource units per 10 seconds to begin with: Microsoft's documented limit for a "
            "tenant of more than 500 users (5,000 from 50, 3,500 below). The pace then follows "
            "what Graph's throttle headers say."
        ),
        json_schema_extra=section("Cloud and network"),
    )
    connect_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="Longest wait for a connection.",
        json_schema_extra=section("Cloud and network"),
    )
    read_timeout_seconds: float = Field(
        120.0,
        gt=0,
        description="Longest silence while waiting for an answer.",
        json_schema_extra=section("Cloud and network"),
    )
    max_attempts: int = Field(
        8,
        ge=1,
        description="Attempts at one request before its failure is believed.",
        json_schema_extra=section("Cloud and network"),
    )
    max_wait_seconds: float = Field(
        900.0,
        ge=0,
        description="Longest total pause of one request for throttling and retries.",
        json_schema_extra=section("Cloud and network"),
    )

    @field_validator("tenant_id", "client_id", mode="after")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        return plain_id(value)

    @field_validator("graph_url", "authority_url", "exchange_url", mode="after")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        return None if value is None else parse_origin(value)

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
