"""Guests: invited, and invited again.

Graph "Create invitation". Inviting a guest who is there already sends another invitation and makes
nobody; inviting a member is refused.
"""

from entra_pipeline.simulator.errors import bad_request
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.logs.entries import Activity, resource
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.accounts import initial_domain, new_user, put_user
from entra_pipeline.simulator.writes.write import Write, text_of

_INVITED_USERS = "Invited Users"


def create(write: Write) -> Response:
    """`POST /invitations`: 201 with the invitation and the id of the guest."""
    write.need(needs.INVITE)
    address = text_of(write.body, "invitedUserEmailAddress", "Invitation")
    redirect = text_of(write.body, "inviteRedirectUrl", "Invitation")
    local, at, domain = address.rpartition("@")
    if not at or not local or "." not in domain or " " in address:
        raise bad_request("The invited user email address is invalid.")
    if not redirect.startswith(("http://", "https://")):
        raise bad_request("The invite redirect url is invalid.")
    user = _known(write, address)
    if user is not None and user.get("userType") != "Guest":
        raise bad_request(
            "The invited user already exists in the directory as object ID: "
            f"{user['id']}. They can use that account to sign in to shared apps and resources."
        )
    domains = {str(each).lower() for each in write.directory.collection("domains")}
    if user is None and domain.lower() in domains:
        raise bad_request(
            "The invited user email address belongs to a verified domain of this directory."
        )
    made = user is None
    if user is None:
        name = write.body.get("invitedUserDisplayName") or local
        values: JsonObject = {
            "accountEnabled": True,
            "creationType": "Invitation",
            "displayName": name,
            "externalUserState": "PendingAcceptance",
            "externalUserStateChangeDateTime": write.stamp,
            "mail": address,
            "mailNickname": f"{address.replace('@', '_')}#EXT#",
            "userPrincipalName": f"{address.replace('@', '_')}#EXT#@{initial_domain(write)}",
            "userType": write.body.get("invitedUserType") or "Guest",
        }
        user = new_user(write, values)
        put_user(write, user)
        write.effect("invite_user", user["id"])
    write.service.trail.note(
        Activity("Invite external user", "UserManagement", "Add", _INVITED_USERS),
        [resource("User", user)],
    )
    invitation_id = new_id(write.service.rng)
    return write.document(
        {
            "@odata.context": f"{write.root()}/$metadata#invitations/$entity",
            "id": invitation_id,
            "inviteRedeemUrl": f"https://login.simulator.invalid/redeem?rd={invitation_id}",
            "invitedUserDisplayName": write.body.get("invitedUserDisplayName"),
            "invitedUserType": user.get("userType"),
            "invitedUserEmailAddress": address,
            "sendInvitationMessage": bool(write.body.get("sendInvitationMessage")),
            "resetRedemption": False,
            "inviteRedirectUrl": redirect,
            "status": "PendingAcceptance" if made else user.get("externalUserState"),
            "invitedUserMessageInfo": write.body.get("invitedUserMessageInfo"),
            "invitedUser": {"id": user["id"]},
        },
        201,
    )


def _known(write: Write, address: str) -> JsonObject | None:
    def build() -> dict[str, JsonObject]:
        found: dict[str, JsonObject] = {}
        for user in write.directory.collection("users").values():
            for each in (user.get("mail"), user.get("userPrincipalName")):
                if each:
                    found.setdefault(str(each).lower(), user)
        return found

    index: dict[str, JsonObject] = write.directory.memo("users by address", ("users",), build)
    return index.get(address.lower())
