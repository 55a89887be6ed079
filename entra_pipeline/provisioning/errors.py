"""What can go wrong in provisioning before anything is written.

ProvisioningError
├── RequestError       a request is not well formed
├── LedgerError        the ledger cannot be used
│   ├── OtherTenantError   it belongs to another tenant
│   └── SchemaError        it is of another version
├── NotFoundError      no such request or plan
└── TransitionError    not in this state
"""

from __future__ import annotations


class ProvisioningError(Exception):
    """Root of this package's errors. The text names the input, the reason and the remedy."""


class RequestError(ProvisioningError):
    """A request is not well formed: the text has a line for each thing that is wrong."""


class LedgerError(ProvisioningError):
    """The ledger cannot be used."""


class OtherTenantError(LedgerError):
    """The ledger belongs to another tenant."""


class SchemaError(LedgerError):
    """The ledger is of a version that this program does not know."""


class NotFoundError(ProvisioningError):
    """There is no such request or plan."""


class TransitionError(ProvisioningError):
    """What was wanted is not possible in the state that the request is in."""
