"""Stored data: the data directory, the Delta tables in it, the books about syncs.

Knows the declarations of tables and nothing of Microsoft Graph or of Dagster.
"""

from entra_pipeline.lake.books import Books, Counters, Outcome, Reconciled, SyncRecord, TableStatus
from entra_pipeline.lake.directory import DataDirectory, Holder
from entra_pipeline.lake.errors import (
    DirectoryBusyError,
    DirectoryError,
    LakeError,
    NewerTableError,
    OtherTenantError,
    RowsError,
)
from entra_pipeline.lake.history import change_schema
from entra_pipeline.lake.metadata import Commit, CommitInfo
from entra_pipeline.lake.store import Lake

__all__ = [
    "Books",
    "Commit",
    "CommitInfo",
    "Counters",
    "DataDirectory",
    "DirectoryBusyError",
    "DirectoryError",
    "Holder",
    "Lake",
    "LakeError",
    "NewerTableError",
    "OtherTenantError",
    "Outcome",
    "Reconciled",
    "RowsError",
    "SyncRecord",
    "TableStatus",
    "change_schema",
]
