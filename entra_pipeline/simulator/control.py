"""The `/_sim/` endpoints: statistics, clock, faults, random changes, and the raw truth.

They exist beside Graph, need no token, and are refused to anything that looks like a browser's
cross-site request.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.contention import Contention
from entra_pipeline.simulator.delta import Deltas
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.entity_sets import ENTITY_SETS
from entra_pipeline.simulator.faults import FaultRuleError, Faults
from entra_pipeline.simulator.replication import Replication
from entra_pipeline.simulator.statistics import Statistics
from entra_pipeline.simulator.tenant import COLLECTIONS, RELATIONS
from entra_pipeline.simulator.throttle import Throttle
from entra_pipeline.simulator.wire import Request, Response, decode_json, encode_json
from entra_pipeline.simulator.writes.effects import Effects
from entra_pipeline.simulator.writes.holds import Holds

Mutate = Callable[[Directory, random.Random, int], list[Any]]
Plant = Callable[[dict[str, Any]], list[Any]]


class Control:
    """Answers control requests of one simulator."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        faults: Faults,
        statistics: Statistics,
        mutate: Mutate,
        deltas: Deltas,
        effects: Effects,
        holds: Holds,
        replication: Replication,
        throttle: Throttle,
        contention: Contention,
        plant: Plant,
    ) -> None:
        self._plant = plant
        self._directory = directory
        self._clock = clock
        self._faults = faults
        self._statistics = statistics
        self._mutate = mutate
        self._deltas = deltas
        self._effects = effects
        self._holds = holds
        self._replication = replication
        self._throttle = throttle
        self._contention = contention

    def answer(self, request: Request) -> Response:
        """Answer a request whose path starts with `/_sim/`."""
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        if host.strip("[]") not in ("localhost", "127.0.0.1", "::1") or (
            "origin" in request.headers
        ):
            return _json({"error": "control requests come from this machine's own programs"}, 403)
        self._holds.tick()
        route = (request.method, request.path.removeprefix("/_sim/").rstrip("/"))
        try:
            match route:
                case ("GET", "stats"):
                    more = {
                        "writes": self._throttle.writes,
                        "effects": len(self._effects),
                        "contended_writes": self._contention.met,
                    }
                    return _json(self._statistics.document(self._faults) | more)
                case ("POST", "stats/reset"):
                    self._statistics.reset()
                    self._throttle.writes = self._contention.met = 0
                    self._faults.reset_counts()
                    return _json({})
                case ("POST", "clock"):
                    self._clock.advance(float(_body(request)["advance_s"]))
                    return _json({"now": self._clock.stamp()})
                case ("POST", "faults"):
                    self._faults.replace(decode_json(request.body))
                    return _json({"rules": len(self._faults.rules)})
                case ("GET", "faults"):
                    return _json({"rules": [rule.text for rule in self._faults.rules]})
                case ("GET", "effects"):
                    after = dict(parse_qsl(request.query)).get("after", "0")
                    return _json({"effects": self._effects.after(int(after))})
                case ("POST", "replication"):
                    asked = _body(request)
                    lag, share = float(asked["lag_s"]), float(asked.get("fresh_share", 0))
                    self._replication.set(lag, share)
                    return _json({"lag_s": lag, "fresh_share": share})
                case ("POST", "pim"):
                    self._holds.set_policy(**_body(request))
                    return _json(asdict(self._holds.policy))
                case ("POST", "mutate"):
                    return self._change(_body(request))
                case ("POST", "change"):
                    made = [each.to_json() for each in self._plant(_body(request))]
                    return _json({"changes": made})
                case ("POST", "delta"):
                    return self._end_deltas(_body(request))
                case ("GET", name) if name.startswith("tenant"):
                    return self._truth(name.removeprefix("tenant").strip("/"))
        except (KeyError, ValueError, TypeError, FaultRuleError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        return _json({"error": f"no such control endpoint: {route[0]} {request.path}"}, 404)

    def _change(self, asked: dict[str, Any]) -> Response:
        rng = random.Random(int(asked.get("seed", 0)))
        changes = self._mutate(self._directory, rng, int(asked.get("changes", 1)))
        rows = [asdict(each) if is_dataclass(each) else each for each in changes]  # type: ignore[arg-type]
        return _json({"changes": rows, "sequence": len(self._directory.log)})

    def _end_deltas(self, asked: dict[str, Any]) -> Response:
        kinds: list[Literal["expire", "reset"]] = ["expire", "reset"]
        wanted = [kind for kind in kinds if asked.get(kind) is True]
        unknown = asked.keys() - {"expire", "reset", "paths"}
        if len(wanted) != 1 or unknown:
            raise ValueError('give {"expire": true} or {"reset": true}, and "paths" if not all')
        paths = asked.get("paths")
        known = {entity_set.path for entity_set in ENTITY_SETS if entity_set.delta}
        known.add("directoryObjects")
        if paths is not None and (not isinstance(paths, list) or not known.issuperset(paths)):
            raise ValueError(f'"paths" is a list of: {", ".join(sorted(known))}')
        self._deltas.end(wanted[0], paths)
        return _json({"ended": wanted[0], "paths": paths})

    def _truth(self, name: str) -> Response:
        """The tenant's own JSON: a list for a collection, source -> targets for a relation."""
        tenant = self._directory.tenant
        if name == "":
            return _json(
                {
                    "tenantId": tenant.tenant_id,
                    "collections": list(COLLECTIONS),
                    "relations": list(RELATIONS),
                }
            )
        if name in RELATIONS:
            return _json(tenant.links[name])
        if name in tenant.objects:
            return _json(list(tenant.objects[name].values()))
        return _json({"error": f"no collection or relation named '{name}'"}, 404)


def _body(request: Request) -> dict[str, Any]:
    document = decode_json(request.body or b"{}")
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    return document


def _json(document: Any, status: int = 200) -> Response:
    return Response(status=status, body=encode_json(document), content_type="application/json")
