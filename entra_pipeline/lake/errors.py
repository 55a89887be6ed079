"""What can go wrong with stored data.

LakeError
├── DirectoryError            the data directory cannot be used
│   ├── OtherTenantError      it belongs to another tenant
│   └── DirectoryBusyError    another process is syncing into it
├── NewerTableError           a table was written by a newer version of this program
└── RowsError                 rows do not have the shape that the table's declaration asks for
"""

from __future__ import annotations


class LakeError(Exception):
    """Something is wrong with stored data; the message names what, why and the remedy."""


class DirectoryError(LakeError):
    """The data directory cannot be used."""


class OtherTenantError(DirectoryError):
    """The data directory belongs to another tenant."""


class DirectoryBusyError(DirectoryError):
    """Another process is syncing into the data directory."""


class NewerTableError(LakeError):
    """A table was written by a newer version of this program."""


class RowsError(LakeError):
    """Rows do not have the shape that the table's declaration asks for."""
