"""The directory's date of leaving as a source of requests: it files offboardings, and never more.

Here: who leaves soon (`employeeLeaveDateTime`, read live), a request for each person and date, and
taking back what was filed for a date that has changed since. Not here: planning, approving and
carrying out, which are people's and the worker's as for any other request.

The date is a property of its own permission (User-LifeCycleInfo.Read.All), without which it may
look empty: so without it nothing is filed, and nothing taken back.
Source: https://learn.microsoft.com/graph/api/resources/user
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.actions.base import quoted
from entra_pipeline.provisioning.actions.pim import moment
from entra_pipeline.provisioning.actions.profiles import properties_url
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.ledger import Filed, Ledger, looking
from entra_pipeline.provisioning.policy import OffboardRule
from entra_pipeline.provisioning.reads import FactReader, Read, UnreadError
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Identity, IdentityKind, Offboard, Request, Source

WHO: Final = Identity(kind=IdentityKind.SYSTEM, subject="leave-date", machine=None)
"""Who files and takes back: nobody, but the directory's date."""
PERMISSIONS: Final = frozenset({"User-LifeCycleInfo.Read.All", "User-LifeCycleInfo.ReadWrite.All"})
LATE: Final = timedelta(days=30)
"""Who left longer ago is not offboarded any more by this: the date is history then."""
_NAME: Final = "employeeLeaveDateTime"
_OPEN: Final = (
    RequestState.FILED,
    RequestState.REFUSED,
    RequestState.PLANNED,
    RequestState.APPROVED,
    RequestState.STALE,
)
_MOVED: Final = "the date of leaving has changed: what was filed for the one before is cancelled"


class LeaversUnreadError(ProvisioningError):
    """Who leaves cannot be read."""


@dataclass(frozen=True)
class Leavers:
    """Ids of requests that were filed, and of those that were cancelled since the date changed."""

    filed: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()


def file_leavers(
    ledger: Ledger, reader: FactReader, held: Collection[str], rule: OffboardRule
) -> Leavers:
    """File an offboarding for everybody who leaves within the rule's time, once for each date.

    `held`: permissions of the application that reads. Raises LeaversUnreadError.
    """
    if not PERMISSIONS & set(held):
        raise LeaversUnreadError(
            "the policy files offboardings from the date of leaving, which cannot be read: grant "
            "the reading application User-LifeCycleInfo.Read.All"
        )
    now = ledger.clock()
    dates = dict(_leaving(reader, now - LATE, now + rule.ahead))
    cancelled = tuple(_cancel(ledger, reader, dates))
    filed = []
    for user, leaves in sorted(dates.items()):
        if (key := _key(ledger, user, leaves)) is None:
            continue
        request = Request(
            body=Offboard(user_id=user),
            asked_by=WHO,
            for_whom=None,
            reason=f"leaves on {leaves:%Y-%m-%d} by the directory's date",
            not_before=leaves,
            source=Source.LEAVE_DATE,
            idempotency_key=key,
        )
        filed += [each.id for each in ledger.file([request])]
    return Leavers(tuple(filed), cancelled)


def _leaving(reader: FactReader, first: datetime, last: datetime) -> Iterator[tuple[str, datetime]]:
    times = [f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (first, last)]
    wanted = quoted(f"{_NAME} ge {times[0]} and {_NAME} le {times[1]}")
    url = f"/users?$filter={wanted}&$select=id,{_NAME}&$top=999"
    try:
        rows = reader.read([Read(url)]).items(url) or []
    except UnreadError as error:
        raise LeaversUnreadError(f"who leaves cannot be read: {error}") from None
    for row in rows:
        if (text := row.get(_NAME)) is not None:
            yield str(row["id"]).lower(), moment(str(text))


def _key(ledger: Ledger, user: str, leaves: datetime) -> str | None:
    """Under which key a request is filed; None when there is one for that person and date.

    What was cancelled because the date had changed is filed anew when the date comes back; what
    people rejected or cancelled is not.
    """
    base = f"leave-{user}-{canonical.moment(leaves)}"
    latest, count = looking.latest_of_key(ledger, base)
    if latest is None:
        return base
    if latest.state is RequestState.CANCELLED and latest.reasons == (_MOVED,):
        return f"{base}-{count}"
    return None


def _cancel(ledger: Ledger, reader: FactReader, dates: dict[str, datetime]) -> Iterator[str]:
    """Take back what was filed for another date than today's, and has not begun."""
    waiting = ledger.requests(states=_OPEN, source=Source.LEAVE_DATE, limit=10_000)
    others = [each for each in waiting if dates.get(_user(each)) != each.request.not_before]
    urls = {each.id: properties_url(_user(each), [_NAME]) for each in others}
    facts = reader.read(Read(url) for url in urls.values())
    for each in others:
        try:
            found = facts.document(urls[each.id])
        except UnreadError:
            continue  # unknown is not changed
        text = None if found is None else found.get(_NAME)
        if text is not None and moment(str(text)) == each.request.not_before:
            continue  # it is only further away than the rule looks
        yield ledger.cancel(each.id, WHO, [_MOVED]).id


def _user(filed: Filed) -> str:
    body = filed.request.body
    return body.user_id if isinstance(body, Offboard) else ""
