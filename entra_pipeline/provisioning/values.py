"""What can be asked for: requests as values, and the access that they are about.

Belongs here: the shape of requests, what makes one well formed, and the natural identity of what it
touches. Does not belong here: whether a request may be carried out (`guards`, `policy`), how
(`planning`), and what became of it (`ledger`).

Ids are Entra's object ids, lower case. All times are absolute and UTC; a duration becomes an end
when the request is filed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

DEFAULT_ACCESS: Final = "00000000-0000-0000-0000-000000000000"
"""The app role of an application that has none: mere access."""

_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_SCOPE: Final = re.compile(r"/|/administrativeUnits/[0-9a-f-]{36}|/[0-9a-f-]{36}")
_NICKNAME: Final = re.compile(r"[!#$%&'*+\-./0-9=?A-Z^_`a-z{|}~]{1,64}")
_UPN: Final = re.compile(r"[^\s@]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])")


def _guid(text: str) -> str:
    if not _GUID.fullmatch(text):
        raise ValueError(f"{text!r} is not an object id (8-4-4-4-12 hexadecimal digits)")
    return text


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a scope of roles: '/', '/administrativeUnits/<id>' or '/<object id>'"
        )
    return text


def _upn(text: str) -> str:
    if not _UPN.fullmatch(text):
        raise ValueError("not a user principal name (name@verified-domain)")
    return text


def _said(text: str) -> str:
    """Text for people: one line, and no characters that a terminal would obey."""
    if any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") for char in text):
        raise ValueError("has control characters")
    return text


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


Guid = Annotated[str, BeforeValidator(_lower), AfterValidator(_guid)]
Scope = Annotated[str, AfterValidator(_scope)]
Upn = Annotated[str, AfterValidator(_upn)]
Said = Annotated[str, AfterValidator(_said)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
Name = Annotated[Said, Field(min_length=1, max_length=256)]


class Tier(IntEnum):
    """How much damage a wrong change can do: 0 controls the tenant, 1 what matters, 2 the rest."""

    CONTROL = 0
    SENSITIVE = 1
    ORDINARY = 2


class Value(BaseModel):
    """A value: equal by content, never changed, and refusing what it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )

    def document(self) -> dict[str, Any]:
        """The value as JSON holds it, without what was left at null."""
        return self.model_dump(mode="json", exclude_none=True)


# ---- access --------------------------------------------------------------------------------------


class GroupAccess(Value):
    """Membership or ownership of a group."""

    type: Literal["group"] = "group"
    group_id: Guid = Field(description="Object id of the group.")
    relation: Literal["member", "owner"] = "member"

    @property
    def resource_id(self) -> str:
        """What the access is to."""
        return self.group_id

    @property
    def entitlement_id(self) -> str:
        """The id that the warehouse knows this access by."""
        return f"group:{self.group_id}:{self.relation}"


class AppAccess(Value):
    """An app role of an application."""

    type: Literal["app"] = "app"
    service_principal_id: Guid = Field(description="Object id of the enterprise application.")
    app_role_id: Guid = Field(
        DEFAULT_ACCESS, description="Id of the app role; without it default access."
    )

    @property
    def resource_id(self) -> str:
        """What the access is to."""
        return self.service_principal_id

    @property
    def entitlement_id(self) -> str:
        """The id that the warehouse knows this access by."""
        return f"app:{self.service_principal_id}:{self.app_role_id}"


class RoleAccess(Value):
    """A directory role at a scope."""

    type: Literal["role"] = "role"
    role_definition_id: Guid = Field(description="Id of the role definition.")
    scope: Scope = Field(
        "/", description="'/' (the tenant), '/administrativeUnits/<id>' or '/<object id>'."
    )

    @property
    def resource_id(self) -> str:
        """What the access is to."""
        return self.role_definition_id

    @property
    def entitlement_id(self) -> str:
        """The id that the warehouse knows this access by."""
        return f"role:{self.role_definition_id}@{self.scope}"


class LicenseAccess(Value):
    """A licence, with the service plans that stay off."""

    type: Literal["license"] = "license"
    sku_id: Guid = Field(description="Id of the SKU.")
    disabled_plans: tuple[Guid, ...] = Field((), description="Service plans not to be given.")

    @property
    def resource_id(self) -> str:
        """What the access is to."""
        return self.sku_id

    @property
    def entitlement_id(self) -> str:
        """The id that the warehouse knows this access by."""
        return f"license:{self.sku_id}"


Access = Annotated[
    GroupAccess | AppAccess | RoleAccess | LicenseAccess, Field(discriminator="type")
]


class Mode(StrEnum):
    """How access is held: for good, or by Privileged Identity Management."""

    DIRECT = "direct"
    PIM_ACTIVE = "pim_active"
    PIM_ELIGIBLE = "pim_eligible"


# ---- kinds of requests ---------------------------------------------------------------------------


class _OfAccess(Value):
    principal_id: Guid = Field(description="Object id of the user, group or service principal.")
    access: Access
    mode: Mode = Mode.DIRECT

    @model_validator(mode="after")
    def _possible(self) -> _OfAccess:
        if self.mode is not Mode.DIRECT and self.access.type not in ("role", "group"):
            raise ValueError(f"{self.mode} exists for roles and groups, not for {self.access.type}")
        return self

    @property
    def identity(self) -> str:
        """What the request is about, by Entra's own nature and not by an opaque id."""
        return f"{self.mode}:{self.principal_id}:{self.access.entitlement_id}"


class Grant(_OfAccess):
    """Give a principal access."""

    kind: Literal["grant"] = "grant"


class Revoke(_OfAccess):
    """Take a principal's access away.

    `undoes`: the request whose grant ends; only what that one added is then taken.
    """

    kind: Literal["revoke"] = "revoke"
    undoes: str | None = Field(None, description="The granting request, when this one ends it.")


class _OfUser(Value):
    user_id: Guid = Field(description="Object id of the user.")

    @property
    def identity(self) -> str:
        """What the request is about."""
        return f"{getattr(self, 'kind', '')}:{self.user_id}"


class CreateUser(Value):
    """Make an account, disabled or not, whose password is sealed before the account exists."""

    kind: Literal["create_user"] = "create_user"
    display_name: Name
    mail_nickname: Annotated[str, Field(pattern=_NICKNAME.pattern)]
    user_principal_name: Upn
    account_enabled: bool = True
    on_premises_immutable_id: str | None = Field(None, max_length=256)
    given_name: Annotated[Said, Field(max_length=64)] | None = None
    surname: Annotated[Said, Field(max_length=64)] | None = None
    employee_id: Annotated[Said, Field(max_length=16)] | None = None
    job_title: Annotated[Said, Field(max_length=128)] | None = None
    department: Annotated[Said, Field(max_length=64)] | None = None
    usage_location: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    manager: str | None = Field(None, description="Object id, UPN or employee id.")
    additional_attributes: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Further Graph properties of the user; never those named above.",
    )

    @model_validator(mode="after")
    def _not_twice(self) -> CreateUser:
        _refuse_overrides(self.additional_attributes)
        _refuse_fractions(self.additional_attributes)
        return self

    @property
    def identity(self) -> str:
        """What the request is about."""
        return f"create_user:{self.user_principal_name.lower()}"


class InviteGuest(Value):
    """Invite somebody from outside."""

    kind: Literal["invite_guest"] = "invite_guest"
    mail: Upn
    display_name: Name | None = None
    redirect_url: Annotated[str, Field(pattern=r"^https://[^\s]+$")] = (
        "https://myapplications.microsoft.com"
    )
    send_message: bool = False

    @property
    def identity(self) -> str:
        """What the request is about."""
        return f"invite_guest:{self.mail.lower()}"


class DeleteUser(_OfUser):
    """Move an account to the recycle bin, whence it can be restored for 30 days."""

    kind: Literal["delete_user"] = "delete_user"


class RestoreUser(_OfUser):
    """Take an account out of the recycle bin."""

    kind: Literal["restore_user"] = "restore_user"


class RotatePassword(_OfUser):
    """Set a new random password, sealed to the configured recipients first."""

    kind: Literal["rotate_password"] = "rotate_password"


class EnableUser(_OfUser):
    """Let an account sign in."""

    kind: Literal["enable_user"] = "enable_user"


class DisableUser(_OfUser):
    """Keep an account from signing in."""

    kind: Literal["disable_user"] = "disable_user"


class UpdateUser(_OfUser):
    """Set any writable properties of an account, named as Graph names them."""

    kind: Literal["update_user"] = "update_user"
    attributes: Annotated[Mapping[str, Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_secrets(self) -> UpdateUser:
        refused = {"id", "passwordprofile"}
        if taken := sorted(name for name in self.attributes if name.lower() in refused):
            raise ValueError(
                f"attributes must not set {', '.join(taken)}: rotate_password sets passwords, "
                "which are in no request"
            )
        _refuse_fractions(self.attributes)
        return self


class UpdateProfile(_OfUser):
    """Set what describes a person: only what is given is changed."""

    kind: Literal["update_profile"] = "update_profile"
    mail: Upn | None = None
    display_name: Name | None = None
    job_title: Annotated[Said, Field(max_length=128)] | None = None
    employee_id: Annotated[Said, Field(max_length=16)] | None = None
    department: Annotated[Said, Field(max_length=64)] | None = None
    company_name: Annotated[Said, Field(max_length=64)] | None = None
    country: Annotated[Said, Field(max_length=128)] | None = None
    extension_attributes: Mapping[str, Annotated[Said, Field(max_length=1024)]] = Field(
        default_factory=dict, description="extensionAttribute1 to extensionAttribute15."
    )

    @model_validator(mode="after")
    def _something(self) -> UpdateProfile:
        known = {f"extensionAttribute{number}" for number in range(1, 16)}
        if unknown := sorted(set(self.extension_attributes) - known):
            raise ValueError(f"no such extension attribute: {', '.join(unknown)}")
        if set(self.document()) <= {"kind", "user_id"} | (
            set() if self.extension_attributes else {"extension_attributes"}
        ):
            raise ValueError("nothing is to be changed: name at least one property")
        return self


class SetManager(_OfUser):
    """Name an account's manager, or with an empty one remove it."""

    kind: Literal["set_manager"] = "set_manager"
    manager: str = Field(description="Object id, UPN or employee id; empty removes the manager.")


class CheckUpn(Value):
    """Ask whether a user principal name is free, and if not, which numbered one is."""

    kind: Literal["check_upn"] = "check_upn"
    user_principal_name: Upn

    @property
    def identity(self) -> str:
        """What the request is about."""
        return f"check_upn:{self.user_principal_name.lower()}"


class CreateGroup(Value):
    """Make a security or Microsoft 365 group."""

    kind: Literal["create_group"] = "create_group"
    display_name: Name
    type: Literal["security", "microsoft_365"] = "security"
    description: Annotated[Said, Field(max_length=1024)] | None = None
    mail_nickname: Annotated[str, Field(pattern=_NICKNAME.pattern)] | None = None
    is_assignable_to_role: bool = False
    owner_ids: tuple[Guid, ...] = ()
    member_ids: tuple[Guid, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> CreateGroup:
        if self.is_assignable_to_role and self.type != "security":
            raise ValueError("is_assignable_to_role is for security groups")
        return self

    @property
    def nickname(self) -> str:
        """The mail nickname given, or one made of the name's plain letters and digits."""
        if self.mail_nickname is not None:
            return self.mail_nickname
        plain = unicodedata.normalize("NFKD", self.display_name).encode("ascii", "ignore").decode()
        return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:64] or "group"

    @property
    def identity(self) -> str:
        """What the request is about."""
        return f"create_group:{self.display_name}"


class RevokeSessions(_OfUser):
    """End an account's sessions: everybody signed in as it must sign in again."""

    kind: Literal["revoke_sessions"] = "revoke_sessions"


class RevokeMfa(_OfUser):
    """Remove every method of multi-factor authentication that can be removed."""

    kind: Literal["revoke_mfa"] = "revoke_mfa"


class Offboard(_OfUser):
    """Take all access of somebody who leaves: one plan of many operations, the account first."""

    kind: Literal["offboard"] = "offboard"
    hand_over_to: Guid | None = Field(
        default=None,
        description="Object id of whoever gets what only the leaver owns; else the manager does.",
    )


Body = Annotated[
    Grant
    | Revoke
    | CreateUser
    | InviteGuest
    | DeleteUser
    | RestoreUser
    | RotatePassword
    | EnableUser
    | DisableUser
    | UpdateUser
    | UpdateProfile
    | SetManager
    | CheckUpn
    | CreateGroup
    | RevokeSessions
    | RevokeMfa
    | Offboard,
    Field(discriminator="kind"),
]

BODY: Final[TypeAdapter[Any]] = TypeAdapter(Body)

PERSONAL: Final = frozenset(
    {
        "create_user",
        "invite_guest",
        "update_user",
        "update_profile",
        "set_manager",
        "check_upn",
        "create_group",
    }
)
"""Kinds with names of people or things in them: they never pass through Dagster's run config."""


# ---- the request ---------------------------------------------------------------------------------


class IdentityKind(StrEnum):
    """How somebody was identified."""

    ENTRA = "entra"
    """A verified id token: `subject` is the object id in it."""
    OS_USER = "os_user"
    """The operating system's user on the machine where the command ran."""
    SYSTEM = "system"
    """The program itself: an expiry."""


class Identity(Value):
    """Who asked, approved or rejected, and by what this is known. A typed name is none."""

    kind: IdentityKind
    subject: Annotated[str, Field(min_length=1, max_length=256)]
    machine: str | None = Field(None, description="Of an operating-system user: on which machine.")

    @property
    def key(self) -> str:
        """Two identities with the same key are the same somebody."""
        place = f"@{self.machine}" if self.machine else ""
        return f"{self.kind}:{self.subject}{place}"


class Source(StrEnum):
    """What a request came from."""

    PERSON = "person"
    FILE = "file"
    LAUNCHPAD = "launchpad"
    PYTHON = "python"
    EXPIRY = "expiry"
    LEAVE_DATE = "leave_date"
    """The directory's date of leaving: files offboardings, and approves none."""
    REVIEW = "review"
    DRIFT = "drift"


class Request(Value):
    """Something that somebody wants done, in a window of time."""

    body: Body
    asked_by: Identity
    for_whom: Guid | None = Field(None, description="Object id of the beneficiary, if another.")
    reason: Annotated[Said, Field(min_length=3, max_length=1024)]
    not_before: Moment | None = None
    expires_at: Moment | None = None
    source: Source = Source.PERSON
    emergency: Literal[True] | None = Field(
        default=None,
        description="Given before anybody approves it, where the policy lets; reviewed later.",
    )
    idempotency_key: Annotated[str, Field(min_length=8, max_length=128)]

    @model_validator(mode="after")
    def _window(self) -> Request:
        if self.expires_at is not None:
            if self.not_before is not None and self.expires_at <= self.not_before:
                raise ValueError("expires_at is not later than not_before")
            if not isinstance(self.body, Grant):
                raise ValueError("only a grant can end: expires_at is for kind 'grant'")
        if self.emergency and (not isinstance(self.body, Grant) or self.expires_at is None):
            raise ValueError("an emergency is for grants that end: give a duration or expires_at")
        return self

    @property
    def kind(self) -> str:
        """The kind of what is asked for."""
        kind: str = self.body.kind
        return kind


_NAMED: Final = frozenset(
    {
        "displayname",
        "mailnickname",
        "userprincipalname",
        "accountenabled",
        "onpremisesimmutableid",
        "givenname",
        "surname",
        "employeeid",
        "jobtitle",
        "department",
        "usagelocation",
        "manager",
        "passwordprofile",
        "id",
    }
)


def _refuse_overrides(attributes: Mapping[str, Any]) -> None:
    if taken := sorted(name for name in attributes if name.lower() in _NAMED):
        raise ValueError(
            f"additional_attributes must not set {', '.join(taken)}: there are fields for those"
        )


def _refuse_fractions(value: Any) -> None:
    """Fractions have no one text for hashes to be taken over; Graph has none here either."""
    if isinstance(value, float):
        raise ValueError("numbers must be whole")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            _refuse_fractions(each)
