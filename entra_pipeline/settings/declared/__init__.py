"""Every setting: its name, type, default, description, and what makes a value wrong by itself.

By subject, in the order of `docs/settings.md`: `connecting`, `reading`, `operating`,
`provisioning`. Does not belong here: reading the environment (`loaded`), what a sign-in needs
altogether (`sign_in`), the clouds' addresses (`clouds`).
"""

from __future__ import annotations

from pathlib import Path

from entra_pipeline.settings.declared.base import PREFIX, Auth, variable
from entra_pipeline.settings.declared.connecting import Connecting
from entra_pipeline.settings.declared.operating import Operating
from entra_pipeline.settings.declared.provisioning import Provisioning
from entra_pipeline.settings.declared.reading import Reading


# The fields of the last one come first.
class Declared(Provisioning, Operating, Reading, Connecting):
    """The declarations; what is used everywhere is `Settings`, which can also load them."""

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's file in the data directory; None for a ledger that is elsewhere."""
        return self.data_dir.absolute() / "ledger.sqlite" if self.ledger_url is None else None


__all__ = ["PREFIX", "Auth", "Declared", "variable"]
