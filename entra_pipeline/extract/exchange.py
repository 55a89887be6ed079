"""`exchange_groups`: one list of Exchange's, read whole, and what its status is.

Here: the rows and the verdict. Not here: when it is read (each sync that reads groups), and the
client (`exchange`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from entra_pipeline.exchange import ExchangeClient
from entra_pipeline.exchange.client import Row
from entra_pipeline.extract.outcome import suspicion
from entra_pipeline.lake import Lake, LakeError, TableStatus
from entra_pipeline.msgraph import GraphError
from entra_pipeline.msgraph.errors import ForbiddenError
from entra_pipeline.settings import Settings, SettingsError
from entra_pipeline.tables import EXCHANGE, Status

NAME: Final = "exchange_groups"
COMMAND: Final = "Get-DistributionGroup"
_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_ADDRESS: Final = re.compile(r"[^\s;,<>()\[\]\"']+@[^\s;,<>()\[\]\"']+")
NOT_CONFIGURED: Final = "Exchange is not configured: set ENTRA_EXCHANGE=true to have its lists read"
NEEDED: Final = "Exchange.ManageAsApp and a directory role such as Global Reader"
log = logging.getLogger(__name__)


def read_groups(
    settings: Settings,
    lake: Lake,
    sync_id: str,
    open_client: Callable[[Settings], ExchangeClient] = ExchangeClient.from_settings,
    *,
    accept_shrink: bool = False,
) -> TableStatus:
    """Read all lists, commit them, and say how that went. Never raises for what Exchange does.

    `lake` knows `tables.EXCHANGE`.
    """
    if not settings.exchange:
        return TableStatus(NAME, Status.NOT_CONFIGURED, reason=NOT_CONFIGURED, sync_id=sync_id)
    began = datetime.now(UTC)
    try:
        client = open_client(settings)
        try:
            more = {"IncludeManagedByWithDisplayNames": True}
            found = client.everything(COMMAND, more, table=NAME)
        finally:
            client.close()
        rows, nameless = rows_of(found)
        reason = suspicion(EXCHANGE[NAME], rows.num_rows, lake.info(NAME), settings)
        if reason is None or accept_shrink:
            reason = None
            lake.commit(EXCHANGE[NAME], rows, sync_id=sync_id, as_of=began)
            lake.maintain(NAME)
        status = Status.COMPLETE if reason is None else Status.QUARANTINED
        if nameless and reason is None:
            status, reason = Status.PARTIAL, f"{nameless} lists have no object id in Entra yet"
    except ForbiddenError as error:
        status = Status.FORBIDDEN
        reason = f"the application needs {NEEDED} ({error})"
    except (GraphError, SettingsError, LakeError, OSError) as error:
        status, reason = Status.FAILED, str(error)
    except Exception as error:
        # The text of an unforeseen error may quote data.
        status, reason = Status.FAILED, f"unexpected {type(error).__name__}"
    if status is not Status.COMPLETE:
        log.warning("%s: %s: %s", NAME, status, reason)
    return known(lake, status, reason, sync_id)


def known(
    lake: Lake, status: Status = Status.COMPLETE, reason: str | None = None, sync_id: str = ""
) -> TableStatus:
    """The status of what is stored; `never` when nothing is and nothing is wrong."""
    info = lake.info(NAME)
    if info is None:
        if status is Status.COMPLETE:
            return TableStatus(NAME, Status.NEVER, reason="no sync has read it yet")
        return TableStatus(NAME, status, reason=reason, sync_id=sync_id)
    return TableStatus(
        NAME,
        status,
        rows=info.rows,
        as_of=info.as_of,
        reason=reason,
        sync_id=sync_id or info.sync_id,
        version=info.version,
    )


def rows_of(found: Sequence[Row]) -> tuple[pa.Table, int]:
    """The table's rows, and how many lists Entra has no object id of."""
    rows: dict[str, dict[str, Any]] = {}
    for row in found:
        key = str(row.get("ExternalDirectoryObjectId") or "").lower()
        if _GUID.fullmatch(key):
            rows[key] = _row(key, row)
    nameless = sum(not row.get("ExternalDirectoryObjectId") for row in found)
    return pa.Table.from_pylist(list(rows.values()), EXCHANGE[NAME].schema()), nameless


def _row(key: str, row: Row) -> dict[str, Any]:
    held = [str(each) for each in _list(row.get("ManagedBy"))]
    named = [str(each) for each in _list(row.get("ManagedByWithDisplayNames"))]
    return {
        "group_id": key,
        "recipient_type": _text(row.get("RecipientTypeDetails")),
        "primary_smtp_address": _text(row.get("PrimarySmtpAddress")),
        "is_dir_synced": _bool(row.get("IsDirSynced")),
        "managed_by": held,
        "managed_by_ids": [each.lower() for each in held if _GUID.fullmatch(each.lower())],
        "managed_by_addresses": sorted(
            {found.lower() for each in named for found in _ADDRESS.findall(each)}
        ),
        "hidden_from_address_lists": _bool(row.get("HiddenFromAddressListsEnabled")),
        "member_join_restriction": _text(row.get("MemberJoinRestriction")),
        "member_depart_restriction": _text(row.get("MemberDepartRestriction")),
    }


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else () if value in (None, "") else (value,)
