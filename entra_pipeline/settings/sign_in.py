"""What a sign-in needs altogether, and a line with the remedy for what is missing."""

from __future__ import annotations

from entra_pipeline.settings.declared import Auth, Declared


def complete_sets(settings: Declared) -> dict[Auth, str]:
    """Kinds of credential whose values are all given, each with the variable that tells."""
    found = {
        Auth.SECRET: ("ENTRA_CLIENT_SECRET", settings.client_secret),
        Auth.CERTIFICATE: ("ENTRA_CLIENT_CERTIFICATE_PATH", settings.client_certificate_path),
        Auth.WORKLOAD_IDENTITY: ("ENTRA_FEDERATED_TOKEN_FILE", settings.federated_token_file),
    }
    return {kind: name for kind, (name, value) in found.items() if value}


def problems_of(settings: Declared) -> list[str]:
    """One line, with its remedy, for each thing that is missing or contradicts another."""
    problems = []
    if not settings.tenant_id:
        problems.append(
            "ENTRA_TENANT_ID: missing. Set it to the directory (tenant) id shown on the app "
            "registration's overview page."
        )
    complete = complete_sets(settings)
    auth = settings.auth
    if auth is None and len(complete) > 1:
        kinds = ", ".join(f"{kind} ({name})" for kind, name in complete.items())
        problems.append(
            f"ENTRA_AUTH: several complete credentials are given: {kinds}. Remove all but "
            "one, or set ENTRA_AUTH to the one to use."
        )
    elif auth is None and not complete:
        if settings.client_certificate_key_path:
            problems.append(
                "ENTRA_CLIENT_CERTIFICATE_PATH: missing, though "
                "ENTRA_CLIENT_CERTIFICATE_KEY_PATH is set. Set it to the certificate's PEM "
                "file."
            )
        else:
            problems.append(
                "ENTRA_CLIENT_SECRET: missing. Set it, or ENTRA_CLIENT_CERTIFICATE_PATH, or "
                "ENTRA_FEDERATED_TOKEN_FILE, or ENTRA_AUTH=managed_identity or device_code."
            )
    kind = auth or (next(iter(complete)) if len(complete) == 1 else None)
    needs = {
        Auth.SECRET: "ENTRA_CLIENT_SECRET",
        Auth.CERTIFICATE: "ENTRA_CLIENT_CERTIFICATE_PATH",
        Auth.WORKLOAD_IDENTITY: "ENTRA_FEDERATED_TOKEN_FILE",
    }
    if kind in needs and kind not in complete:
        problems.append(f"{needs[kind]}: missing, though ENTRA_AUTH is {kind}. Set it.")
    if not settings.client_id and kind is not Auth.MANAGED_IDENTITY:
        problems.append(
            "ENTRA_CLIENT_ID: missing. Set it to the application (client) id shown on the app "
            "registration's overview page."
        )
    if kind is Auth.CERTIFICATE and Auth.CERTIFICATE in complete:
        for name, path in (
            ("ENTRA_CLIENT_CERTIFICATE_PATH", settings.client_certificate_path),
            ("ENTRA_CLIENT_CERTIFICATE_KEY_PATH", settings.client_certificate_key_path),
        ):
            if path is not None and not path.is_file():
                problems.append(f"{name}: {path} is not a file. Give the path of a PEM file.")
    return problems
