"""What users sign in with: sessions ended, authentication methods deleted.

Graph "user: revokeSignInSessions" (documented as 204, answers 200 with true: known issue), "Delete
…AuthenticationMethod". The default method goes last; a password cannot be deleted.
"""

from entra_pipeline.simulator.errors import GraphError, bad_request, not_found
from entra_pipeline.simulator.logs.entries import Activity, modified, resource
from entra_pipeline.simulator.tenant import key_of
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.administrators import check_sensitive
from entra_pipeline.simulator.writes.write import Write

METHOD_SETS: dict[str, str] = {
    "emailMethods": "emailAuthenticationMethod",
    "externalAuthenticationMethods": "externalAuthenticationMethod",
    "fido2Methods": "fido2AuthenticationMethod",
    "microsoftAuthenticatorMethods": "microsoftAuthenticatorAuthenticationMethod",
    "passwordMethods": "passwordAuthenticationMethod",
    "phoneMethods": "phoneAuthenticationMethod",
    "platformCredentialMethods": "platformCredentialAuthenticationMethod",
    "softwareOathMethods": "softwareOathAuthenticationMethod",
    "temporaryAccessPassMethods": "temporaryAccessPassAuthenticationMethod",
    "windowsHelloForBusinessMethods": "windowsHelloForBusinessAuthenticationMethod",
}
"""Name of the collection that deletes -> type of the methods in it."""
_PASSWORD = "passwordAuthenticationMethod"  # noqa: S105 - a type's name
_DEFAULTS = {
    "push": ("microsoftAuthenticatorAuthenticationMethod",),
    "oath": ("softwareOathAuthenticationMethod", "microsoftAuthenticatorAuthenticationMethod"),
    "sms": ("phoneAuthenticationMethod",),
    "voiceMobile": ("phoneAuthenticationMethod",),
    "voiceAlternateMobile": ("phoneAuthenticationMethod",),
    "voiceOffice": ("phoneAuthenticationMethod",),
}
"""Preferred second factor, as the registration report has it -> types it may be."""
_SECOND_FACTORS = (
    "microsoftAuthenticatorAuthenticationMethod",
    "phoneAuthenticationMethod",
    "softwareOathAuthenticationMethod",
)


def revoke_sessions(write: Write) -> Response:
    """`POST /users/{id}/revokeSignInSessions`: 200 with true."""
    write.need(needs.REVOKE_SESSIONS)
    user = write.get("users", write.keys[0])
    check_sensitive(write, user)
    # Observed by nobody: the log has a name of its own for this.
    write.directory.patch("users", user["id"], {"signInSessionsValidFromDateTime": write.stamp})
    write.service.trail.note(
        Activity("Update StsRefreshTokenValidFrom Timestamp", "UserManagement", "Update"),
        [
            resource(
                "User",
                user,
                [
                    modified(
                        "StsRefreshTokensValidFrom",
                        [user.get("signInSessionsValidFromDateTime")],
                        [write.stamp],
                    )
                ],
            )
        ],
    )
    write.effect("revoke_sessions", user["id"], user["id"])
    context = f"{write.root()}/$metadata#Edm.Boolean"
    return write.document({"@odata.context": context, "value": True})


def delete_method(write: Write) -> Response:
    """`DELETE /users/{id}/authentication/{kind}Methods/{id}`: 204."""
    write.need(needs.METHODS)
    write.not_in(frozenset({"bleu", "delos"}), "authentication")
    user = write.get("users", write.keys[0])
    names = {name.lower(): name for name in METHOD_SETS}
    kind = METHOD_SETS[names[write.call.route.rpartition("/{id}")[0].rpartition("/")[2].lower()]]
    check_sensitive(write, user)
    if kind == _PASSWORD:
        raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed.")
    held = write.directory.grouped("authentication_methods", "userId").get(user["id"], [])
    row = next((each for each in held if each["id"] == write.keys[1] and _type(each) == kind), None)
    if row is None:
        raise not_found(write.keys[1])
    others = [each for each in held if each is not row and _type(each) != _PASSWORD]
    if others and row is _default(write, user["id"], held):
        raise bad_request(
            "The default authentication method cannot be deleted while other methods are "
            "registered."
        )
    write.session.remove("authentication_methods", key_of("authentication_methods", row))
    write.service.trail.note(
        Activity("Admin deleted security info", "UserManagement", "Delete", _SERVICE),
        [resource("User", user)],
    )
    write.effect("delete_method", user["id"], user["id"], method=kind, id=row["id"])
    return write.no_content()


_SERVICE = "Authentication Methods"


def _type(row: JsonObject) -> str:
    return str(row.get("@odata.type")).rpartition(".")[2]


def _default(write: Write, user_id: str, held: list[JsonObject]) -> JsonObject | None:
    """The method that the user is asked for first: as preferred, else the first second factor."""
    details = write.directory.collection("user_registration_details").get(user_id, {})
    preferred = str(details.get("userPreferredMethodForSecondaryAuthentication"))
    for wanted in (_DEFAULTS.get(preferred, ()), _SECOND_FACTORS):
        for kind in wanted:
            for row in held:
                if _type(row) == kind:
                    return row
    return None
