"""What every write has to pass at the moment it is sent: the write gate and the kill switch.

Both are looked at before every round trip, and both stop everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from entra_pipeline.provisioning.errors import ProvisioningError

STOP_FILE: Final = "provisioning.stop"
"""A file of this name in the data directory stops all writing, whoever made it and however."""


class GateClosedError(ProvisioningError):
    """Writing is off, was stopped, or its state could not be found out."""


class Gate:
    """May something be written now? Calling it raises GateClosedError if not.

    `enabled`: the write gate (ENTRA_PROVISIONING). `stopped`: the ledger's kill switch; that it
    cannot be asked counts as stopped.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        stop_file: Path,
        stopped: Callable[[], Mapping[str, str] | None],
    ) -> None:
        self._enabled = enabled
        self._stop_file = stop_file
        self._stopped = stopped

    def __call__(self) -> None:
        """Raise unless a write may be sent now."""
        if not self._enabled:
            raise GateClosedError(
                "nothing is written to the tenant: provisioning is off (ENTRA_PROVISIONING)"
            )
        if self._stop_file.exists():
            raise GateClosedError(
                f"all writing was stopped by {self._stop_file}: `resume` lets it go on"
            )
        try:
            said = self._stopped()
        except Exception as error:
            raise GateClosedError(
                f"whether writing was stopped cannot be found out ({type(error).__name__}): "
                "nothing is written until the ledger answers"
            ) from None
        if said is not None:
            raise GateClosedError(
                f"all writing was stopped by {said['by']} at {said['at']} ({said['reason']}): "
                "`resume` lets it go on"
            )
