"""What every request passes on its way: method, permission, licence, cost.

Which permission an endpoint needs is declared in entity_sets.py and navigations.py.
"""

from entra_pipeline.simulator.errors import GraphError, denied
from entra_pipeline.simulator.identity import Caller
from entra_pipeline.simulator.listing import not_premium
from entra_pipeline.simulator.model import LICENSE_RANK, License, Options
from entra_pipeline.simulator.odata.query import Query
from entra_pipeline.simulator.permissions import Acceptable, suffices
from entra_pipeline.simulator.throttle import Throttle, units
from entra_pipeline.simulator.wire import Request


class Call:
    """What becomes known of a request on its way: its route template, cost and headers."""

    __slots__ = ("headers", "request", "route", "units")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.route = "unknown"
        self.units = 0
        self.headers: dict[str, str] = {}


class Gates:
    """The gates of one tenant; each raises GraphError for what may not pass."""

    def __init__(self, options: Options, throttle: Throttle) -> None:
        self._options = options
        self._throttle = throttle

    def charge(self, call: Call, query: Query, base: int, bucket: str | None) -> None:
        """Spend the request's resource units; 429 when there are none left."""
        call.units = units(
            base, select=query.select is not None, expand=bool(query.expand), top=query.top
        )
        caller: Caller = call.request.caller
        call.headers = self._throttle.charge(caller.app_id, call.units, bucket)

    def charge_write(self, call: Call, writes: int) -> None:
        """Spend a write's resource unit and its share of the write quota; 429 when used up."""
        call.units = 1
        caller: Caller = call.request.caller
        call.headers = self._throttle.charge_write(caller.app_id, writes)

    def allow(self, request: Request, acceptable: Acceptable, license_need: License) -> None:
        """403 without a sufficient permission; 400 or 403 without the licence."""
        caller: Caller = request.caller
        if not suffices(caller.permissions, acceptable):
            raise denied()
        if LICENSE_RANK[self._options.license] < LICENSE_RANK[license_need]:
            if license_need == "p2":
                raise GraphError(
                    400,
                    "AadPremiumLicenseRequired",
                    "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID "
                    "Governance license.",
                )
            raise not_premium()


def only(request: Request, method: str) -> None:
    """405 for any other method."""
    if request.method != method:
        raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed.")
