"""Sealed passwords in vaults elsewhere: Azure Key Vault, HashiCorp Vault (KV version 2).

Here: putting a sealed document there before Graph knows the password, finding it again, and making
it unreadable when Graph is known not to have taken it. Not here: sealing, files (`sealing`).

By the vaults' own client libraries, which are optional extras: `azure-vault`, `hashicorp-vault`.
Messages name the place and the kind of failure, and quote nothing that was sent or answered.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.sealing import SealedFiles, SealingError, Vault, seal
from entra_pipeline.provisioning.writer import writer_settings
from entra_pipeline.settings import Auth, Settings, SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from pydantic import SecretStr

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 20.0
_TRIES: Final = 3
_ATTEMPT: Final = "attempt"
_DIGEST: Final = "sha256"
_Answer = TypeVar("_Answer")


class Store(Protocol):
    """A place that keeps texts by request and attempt; what fails raises SealingError."""

    def put(self, request_id: str, attempt_id: str, text: str, digest: str) -> None:
        """Keep a text: durable when this returns."""
        ...

    def forget(self, request_id: str, attempt_id: str) -> None:
        """Have it no more, or let nobody read it any more."""
        ...

    def names(self, request_id: str) -> dict[str, str]:
        """What is kept for a request: name to digest, the oldest first."""
        ...


class RemoteVault:
    """Passwords in a store elsewhere, sealed to recipients.

    With `sealed` false the store keeps them as they are, for whoever it lets read them: it is its
    own recipient then, so that a plan names it.
    """

    def __init__(self, store: Store, recipients: tuple[str, ...], *, sealed: bool = True) -> None:
        if not recipients:
            raise SealingError("there is nobody to seal passwords to: name recipients")
        self._store, self._recipients, self._sealed = store, recipients, sealed

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who can open what is kept: public keys, or the vault itself."""
        return self._recipients

    def keep(self, request_id: str, attempt_id: str, document: Mapping[str, Any]) -> None:
        """Seal a document and keep it: durable when this returns. Raises SealingError."""
        if self._sealed:
            text = seal(document, self._recipients).decode()
        else:
            text = canonical.text(dict(document))
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._store.put(request_id, attempt_id, text, digest)

    def discard(self, request_id: str, attempt_id: str) -> None:
        """Make unreadable what was sealed for an attempt that set no password."""
        self._store.forget(request_id, attempt_id)

    def kept(self, request_id: str) -> dict[str, str]:
        """What is kept for a request: name to SHA-256 of the content."""
        return self._store.names(request_id)


class AzureStore:
    """Secrets of an Azure Key Vault: one for each request, a version for each attempt.

    A version cannot be deleted by itself, and a deleted secret's name is taken until it is purged;
    so what is forgotten is disabled: Key Vault then gives it to nobody.
    Source: https://learn.microsoft.com/azure/key-vault/secrets/about-secrets
    """

    def __init__(self, url: str, credential: TokenCredential, ca_file: str | None) -> None:
        try:
            from azure.keyvault.secrets import SecretClient
        except ImportError:
            raise _without("azure-keyvault-secrets", "azure-vault") from None
        self._url = url
        self._client: Any = SecretClient(
            url,
            credential,
            connection_verify=ca_file or True,
            connection_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S,
            retry_total=_TRIES,
            # Bodies are secrets: nothing of them may reach a log.
            logging_enable=False,
        )

    def put(self, request_id: str, attempt_id: str, text: str, digest: str) -> None:
        """A new version of the request's secret."""
        tags = {_ATTEMPT: attempt_id, _DIGEST: digest}
        with self._errors():
            self._client.set_secret(
                _plain(request_id), text, content_type="application/age", tags=tags
            )

    def forget(self, request_id: str, attempt_id: str) -> None:
        """Disable the attempt's version."""
        name = _plain(request_id)
        with self._errors():
            for version in self._versions(name):
                if (version.tags or {}).get(_ATTEMPT) == attempt_id:
                    self._client.update_secret_properties(name, version.version, enabled=False)

    def names(self, request_id: str) -> dict[str, str]:
        """Versions that can be read, as name and version."""
        name = _plain(request_id)
        with self._errors():
            found = [each for each in self._versions(name) if each.enabled]
        found.sort(key=lambda each: each.created_on)
        return {f"{name}/{each.version}": str((each.tags or {}).get(_DIGEST, "")) for each in found}

    def _versions(self, name: str) -> list[Any]:
        return list(self._client.list_properties_of_secret_versions(name))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            yield
        except HttpResponseError as error:
            raise _failed(self._url, f"HTTP {error.status_code}") from None
        except (AzureError, ValueError) as error:
            # ValueError: an answer that asks for a token for somebody else's domain.
            raise _failed(self._url, type(error).__name__) from None


class HashicorpStore:
    """Secrets of HashiCorp Vault, KV version 2: a path for each attempt, written once.

    What is forgotten is deleted with all that is known of it. `sign_in` gives the client a token;
    when the vault no longer takes that (403), one that `renews` is asked for another, once.
    Source: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
    """

    def __init__(
        self,
        url: str,
        sign_in: SignIn,
        *,
        mount: str,
        path: str,
        namespace: str | None,
        ca_file: str | None,
    ) -> None:
        try:
            import hvac
        except ImportError:
            raise _without("hvac", "hashicorp-vault") from None
        self._url, self._mount, self._path = url, mount, path.strip("/")
        self._sign_in = sign_in
        self._client: Any = hvac.Client(
            url=url,
            namespace=namespace,
            verify=ca_file or True,
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        )
        # By itself the library takes the one that somebody left in their environment or home.
        self._client.token = None

    def put(self, request_id: str, attempt_id: str, text: str, digest: str) -> None:
        """A secret that is refused if there is one already (check-and-set 0)."""
        path = f"{self._path}/{request_id}/{attempt_id}"
        secret = {"content": text, _DIGEST: digest}
        self._asked(
            lambda kv: kv.create_or_update_secret(
                path=path, secret=secret, cas=0, mount_point=self._mount
            )
        )

    def forget(self, request_id: str, attempt_id: str) -> None:
        """Delete the attempt's secret for good."""
        path = f"{self._path}/{request_id}/{attempt_id}"
        self._asked(
            lambda kv: kv.delete_metadata_and_all_versions(path=path, mount_point=self._mount)
        )

    def names(self, request_id: str) -> dict[str, str]:
        """Paths below the mount."""
        folder = f"{self._path}/{request_id}"
        found = self._asked(lambda kv: self._found(kv, folder))
        return {f"{folder}/{key}": str(digest) for _, key, digest in sorted(found)}

    def _found(self, kv: Any, folder: str) -> list[tuple[str, str, str]]:
        """When each was made, its name and its digest."""
        from hvac.exceptions import InvalidPath

        try:
            listed = kv.list_secrets(path=folder, mount_point=self._mount)
        except InvalidPath:
            return []
        found = []
        for key in listed["data"]["keys"]:
            read = kv.read_secret_version(
                path=f"{folder}/{key}", mount_point=self._mount, raise_on_deleted_version=True
            )
            data = read["data"]
            found.append((data["metadata"]["created_time"], key, data["data"].get(_DIGEST, "")))
        return found

    def _asked(self, act: Callable[[Any], _Answer]) -> _Answer:
        import requests
        from hvac.exceptions import Forbidden, VaultError

        kv, what = self._client.secrets.kv.v2, "signing in: "
        try:
            self._sign_in(self._client, anew=False)
            what = ""
            try:
                return act(kv)
            except Forbidden:
                # Refused, so that nothing was done.
                if not self._sign_in.renews:
                    raise
            what = "signing in anew: "
            self._sign_in(self._client, anew=True)
            what = ""
            return act(kv)
        except (VaultError, requests.RequestException, KeyError, TypeError) as error:
            raise _failed(self._url, f"{what}{type(error).__name__}") from None


class SignIn(Protocol):
    """How a client of HashiCorp Vault comes by its token."""

    @property
    def renews(self) -> bool:
        """Whether another token can be had in place of one that the vault no longer takes."""
        ...

    def __call__(self, client: Any, *, anew: bool) -> None:
        """Give the client a token; `anew`: not the one that it has."""
        ...


class GivenToken:
    """A token that somebody else keeps good."""

    renews = False

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def __call__(self, client: Any, *, anew: bool) -> None:
        """The token as it is now."""
        client.token = self._token()


class AppRole:
    """Role id and secret id, for a token that is kept until the vault no longer takes it.

    Source: https://developer.hashicorp.com/vault/docs/auth/approle
    """

    renews = True

    def __init__(self, role_id: str, secret_id: SecretStr, mount: str) -> None:
        self._role_id, self._secret_id, self._mount = role_id, secret_id, mount

    def __call__(self, client: Any, *, anew: bool) -> None:
        """Sign in, if that was not done yet or is to be done anew."""
        if client.token is not None and not anew:
            return
        client.token = None
        client.auth.approle.login(
            role_id=self._role_id,
            secret_id=self._secret_id.get_secret_value(),
            mount_point=self._mount,
        )


def vault_of(settings: Settings, folder: Path) -> Vault | None:
    """Where the settings want sealed passwords; None when they name nobody who may read them.

    `folder`: of sealed files. Raises SettingsError for half of a vault, SealingError when its
    library is not installed.
    """
    recipients = recipients_of(settings)
    if not recipients:
        return None
    if settings.vault == "files":
        return SealedFiles(folder, recipients)
    store: Store = _azure(settings) if settings.vault == "azure" else _hashicorp(settings)
    return RemoteVault(store, recipients, sealed=not settings.vault_unsealed)


def recipients_of(settings: Settings) -> tuple[str, ...]:
    """Who can read new passwords: public keys, or a vault that keeps them unsealed."""
    if not settings.vault_unsealed:
        return settings.seal_to
    if settings.vault == "files":
        raise SettingsError(
            ["ENTRA_VAULT_UNSEALED: files are always sealed. Remove it, or name a vault."]
        )
    return (f"{settings.vault}:{_url(settings)}",)


def _url(settings: Settings) -> str:
    url, name = (
        (settings.azure_vault_url, "ENTRA_AZURE_VAULT_URL")
        if settings.vault == "azure"
        else (settings.hashicorp_vault_url, "ENTRA_HASHICORP_VAULT_URL")
    )
    if url is None:
        raise SettingsError([f"{name}: missing. ENTRA_VAULT={settings.vault} needs it."])
    return url


def _azure(settings: Settings) -> AzureStore:
    return AzureStore(_url(settings), _credential(settings), settings.ca_file)


def _credential(settings: Settings) -> TokenCredential:
    """The writer's own credential, for Key Vault."""
    try:
        import azure.identity as identity
    except ImportError:
        raise _without("azure-identity", "azure-vault") from None
    writer = writer_settings(settings)
    endpoints = writer.endpoints
    common: dict[str, Any] = {
        "authority": endpoints.authority_url,
        "disable_instance_discovery": not endpoints.authority_is_known,
        "connection_verify": settings.ca_file or True,
        "connection_timeout": _TIMEOUT_S,
    }
    tenant, client = writer.tenant_id, writer.client_id
    match writer.auth_kind:
        case Auth.SECRET if writer.client_secret is not None:
            secret = writer.client_secret.get_secret_value()
            return identity.ClientSecretCredential(tenant, client, secret, **common)
        case Auth.CERTIFICATE if writer.client_certificate_path is not None:
            paths = (writer.client_certificate_path, writer.client_certificate_key_path)
            pem = b"\n".join(path.read_bytes() for path in paths if path is not None)
            password = writer.client_certificate_password
            return identity.CertificateCredential(
                tenant,
                client,
                certificate_data=pem,
                password=None if password is None else password.get_secret_value(),
                **common,
            )
        case Auth.MANAGED_IDENTITY:
            return identity.ManagedIdentityCredential(client_id=client or None)
    raise SettingsError(
        [
            "ENTRA_VAULT: azure wants a writer with a secret, a certificate or a managed identity. "
            "Give it one, or keep passwords elsewhere."
        ]
    )


def _hashicorp(settings: Settings) -> HashicorpStore:
    return HashicorpStore(
        _url(settings),
        _sign_in(settings),
        mount=settings.hashicorp_vault_mount,
        path=settings.hashicorp_vault_path,
        namespace=settings.hashicorp_vault_namespace,
        ca_file=settings.ca_file,
    )


def _sign_in(settings: Settings) -> SignIn:
    given, file = settings.hashicorp_vault_token, settings.hashicorp_vault_token_file
    role, secret = settings.hashicorp_vault_role_id, settings.hashicorp_vault_secret_id
    if bool(role) != (secret is not None):
        missing = "SECRET_ID" if role else "ROLE_ID"
        raise SettingsError(
            [
                f"ENTRA_HASHICORP_VAULT_{missing}: missing. A role id and a secret id belong "
                "together: give both, or neither."
            ]
        )
    ways = sum((given is not None, file is not None, secret is not None))
    if ways != 1:
        raise SettingsError(
            [
                f"ENTRA_HASHICORP_VAULT_TOKEN: {'one too many' if ways else 'missing'}. Give it, "
                "ENTRA_HASHICORP_VAULT_TOKEN_FILE, or a role id and a secret id, one of the three."
            ]
        )
    if secret is not None:
        return AppRole(role, secret, settings.hashicorp_vault_approle_mount)
    if given is not None:
        return GivenToken(given.get_secret_value)

    def token() -> str:
        assert file is not None  # noqa: S101 - narrows for the type checker
        try:
            # Read anew each time: Vault's agent replaces it before it ends.
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SealingError(f"{file} cannot be read: {error.strerror}") from None

    return GivenToken(token)


def _plain(request_id: str) -> str:
    """A request's id as a name that Key Vault takes: letters, digits and dashes."""
    return re.sub(r"[^0-9A-Za-z-]", "-", request_id)


def _failed(url: str, why: str) -> SealingError:
    return SealingError(f"the password could not be kept in the vault {url} ({why})")


def _without(library: str, extra: str) -> SealingError:
    return SealingError(
        f"{library} is not installed: pip install 'entra-pipeline[{extra}]', or keep passwords in "
        "files (ENTRA_VAULT=files)"
    )
