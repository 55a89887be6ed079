"""Which application writes: the settings as the writer's client wants them.

Here: replacing the reader's credential by the writer's. Not here: what the writer may do
(`permissions`), and when (`gate`).
"""

from __future__ import annotations

from entra_pipeline.settings import Auth, Settings, SettingsError


def writer_settings(settings: Settings) -> Settings:
    """The settings with the writer's credential in place of the reader's.

    Raises SettingsError when there is none, or half of one: the reader's is used only where
    ENTRA_WRITER_IS_READER says so.
    """
    given = {
        Auth.SECRET: settings.writer_client_secret,
        Auth.CERTIFICATE: settings.writer_client_certificate_path,
    }
    kinds = [kind for kind, value in given.items() if value]
    if settings.writer_is_reader:
        if kinds or settings.writer_client_id:
            raise SettingsError(
                [
                    "ENTRA_WRITER_IS_READER: on, though the writer has settings of its own. "
                    "Remove one or the other."
                ]
            )
        return settings
    problems = []
    if not settings.writer_client_id:
        problems.append(
            "ENTRA_WRITER_CLIENT_ID: missing. Set it to the application that writes to the tenant, "
            "or set ENTRA_WRITER_IS_READER to write with the one that reads it."
        )
    if len(kinds) != 1:
        problems.append(
            f"ENTRA_WRITER_CLIENT_SECRET: {'missing' if not kinds else 'one too many'}. Give it or "
            "ENTRA_WRITER_CLIENT_CERTIFICATE_PATH, one of the two."
        )
    path = settings.writer_client_certificate_path
    if path is not None and not path.is_file():
        problems.append(
            f"ENTRA_WRITER_CLIENT_CERTIFICATE_PATH: {path} is not a file. Give a PEM file's path."
        )
    if problems:
        raise SettingsError(problems)
    return settings.model_copy(
        update={
            "auth": kinds[0],
            "client_id": settings.writer_client_id,
            "client_secret": settings.writer_client_secret,
            "client_certificate_path": settings.writer_client_certificate_path,
            "client_certificate_key_path": settings.writer_client_certificate_key_path,
            "client_certificate_password": settings.writer_client_certificate_password,
            "federated_token_file": None,
        }
    )
