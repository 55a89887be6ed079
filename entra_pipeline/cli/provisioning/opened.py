"""What the commands share: opening provisioning by the settings, errors as messages, who asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from entra_pipeline.cli import output
from entra_pipeline.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from entra_pipeline.provisioning.service import Provisioning
    from entra_pipeline.provisioning.values import Identity
    from entra_pipeline.settings import Settings

SignIn = Annotated[
    bool,
    typer.Option(
        "--sign-in",
        help="Be known by a sign-in to Entra (device code) instead of as this machine's user.",
    ),
]
Note = Annotated[
    str | None,
    typer.Option("--note", metavar="TEXT", help="Kept with the decision.", show_default=False),
]


@contextmanager
def provisioning(*, tenant: bool = False) -> Iterator[Provisioning]:
    """Provisioning by the settings; `tenant`: the command talks to Microsoft Graph."""
    from entra_pipeline.provisioning.service import Provisioning

    with errors(), Provisioning(_settings(tenant=tenant)) as opened:
        yield opened


def _settings(*, tenant: bool) -> Settings:
    from entra_pipeline.cli.tenant import not_configured
    from entra_pipeline.settings import Settings

    settings = Settings.load() if tenant else Settings.for_data_only()
    if not settings.tenant_id:
        raise not_configured()
    return settings


@contextmanager
def errors() -> Iterator[None]:
    """Turn what provisioning refuses into messages and exit codes."""
    from entra_pipeline.provisioning.errors import (
        LedgerError,
        NotFoundError,
        ProvisioningError,
        RequestError,
        TransitionError,
    )
    from entra_pipeline.provisioning.gate import GateClosedError
    from entra_pipeline.provisioning.policy import PolicyError
    from entra_pipeline.provisioning.service import NotApprovedError

    try:
        yield
    except NotApprovedError as error:
        raise CliError(
            f"{error.what}:\n" + "\n".join(f"  {reason}" for reason in error.reasons),
            code=ExitCode.NO,
            details={"reasons": list(error.reasons)},
        ) from error
    except TransitionError as error:
        raise CliError(str(error), code=ExitCode.NO) from error
    except (NotFoundError, RequestError, PolicyError) as error:
        raise CliError(str(error)) from error
    except GateClosedError as error:
        raise CliError(str(error), code=ExitCode.FAILED) from error
    except LedgerError as error:
        raise CliError(str(error), code=ExitCode.FAILED) from error
    except ProvisioningError as error:
        raise CliError(str(error), code=ExitCode.FAILED) from error


def identity(*, sign_in: bool) -> Identity:
    """Who types: the machine's user, or whoever signs in to Entra now."""
    from entra_pipeline.provisioning import identities

    if not sign_in:
        return identities.os_user()
    from entra_pipeline.msgraph import id_tokens

    settings = _settings(tenant=True)
    found = id_tokens.sign_in(
        settings,
        lambda code: output.err().print(
            f"Open {code.url} and enter {code.user_code} within {code.expires_in_s // 60} minutes.",
            markup=False,
        ),
    )
    return identities.signed_in(found)
