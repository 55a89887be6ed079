"""What the simulator has been asked for: the numbers behind `GET /_sim/stats`."""

import resource
import time
from collections import Counter

from entra_pipeline.simulator.faults import Faults
from entra_pipeline.simulator.wire import JsonObject, Response


class Statistics:
    """Counters since the start or the last reset.

    A batch is one round trip and as many requests as it has items. Token requests are counted
    apart (`identity_requests`), control requests not at all.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again from zero."""
        self.requests = 0
        self.round_trips = 0
        self.identity_requests = 0
        self.bytes = 0
        self.resource_units = 0
        self.throttled = 0
        self.by_route: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self._cpu_before = time.process_time()

    def count(self, response: Response) -> None:
        """One Graph request has been answered."""
        self.requests += 1
        self.resource_units += response.units
        self.by_route[response.route] += 1
        self.by_status[response.status] += 1
        if response.status == 429:
            self.throttled += 1

    def document(self, faults: Faults) -> JsonObject:
        """The numbers as JSON. `cpu_s` is the process's since the reset, `max_rss_bytes` ever."""
        return {
            "requests": self.requests,
            "round_trips": self.round_trips,
            "identity_requests": self.identity_requests,
            "by_route": dict(self.by_route),
            "by_status": {str(status): number for status, number in self.by_status.items()},
            "bytes": self.bytes,
            "resource_units": self.resource_units,
            "throttled": self.throttled,
            "faults_fired": sum(rule.fired for rule in faults.rules),
            "faults": [
                {"rule": rule.text, "matched": rule.matched, "fired": rule.fired}
                for rule in faults.rules
            ],
            "cpu_s": time.process_time() - self._cpu_before,
            "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
