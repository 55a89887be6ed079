"""The journal of what writes really did: the oracle's side of the simulator.

One entry for each change that a Graph request made to the directory; none for what was refused or
was so already. What follows from a change by itself (an inherited licence, a hold that ends in its
time) is not an entry. Only `/_sim/effects` shows it: Graph has nothing like it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from entra_pipeline.simulator.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Effect:
    """One change.

    `kind` such as `add_group_member`; `target` the object that was changed or given access to,
    `principal` who gained or lost it (None where nobody did), both ids. `request_id` is the
    caller's `client-request-id`, or the one that the answer gave. `details` names what target and
    principal leave open: role, scope, SKU, changed properties (never their values).
    """

    seq: int
    at: str
    kind: str
    target: str
    principal: str | None
    request_id: str
    app_id: str
    details: JsonObject = field(default_factory=dict)


class Effects:
    """All effects since the start, in order."""

    def __init__(self) -> None:
        self._rows: list[Effect] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        at: str,
        kind: str,
        target: str,
        principal: str | None,
        request_id: str,
        app_id: str,
        details: JsonObject,
    ) -> None:
        """Write down an effect."""
        self._rows.append(
            Effect(len(self._rows) + 1, at, kind, target, principal, request_id, app_id, details)
        )

    def after(self, sequence: int) -> list[dict[str, Any]]:
        """The effects with a greater sequence number, as JSON objects."""
        return [asdict(each) for each in self._rows[max(0, sequence) :]]
