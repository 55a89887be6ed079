"""One change of the directory that a test names, by whom it names: `POST /_sim/change`.

    {"op": "link", "target": "group_members", "ids": [group, user], "by": {"user": id}}

Here: what such a document means. Random changes are `mutate`'s, those that Graph was asked for
`writes`'.
"""

from __future__ import annotations

import random
from datetime import datetime

from entra_pipeline.simulator.changes.base import Change, Session
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.logs.entries import by_application, by_user
from entra_pipeline.simulator.logs.trail import Trail
from entra_pipeline.simulator.wire import JsonObject


def plant(
    directory: Directory, trail: Trail, rng: random.Random, now: datetime, asked: JsonObject
) -> list[Change]:
    """Make the change, with the audits that it leaves; what was changed, nothing if nothing.

    `op`: link, unlink, put (with `object`), patch (with `properties`), remove or soft_delete. `by`:
    a user, or the service principal of an application; without it any administrator. ValueError or
    KeyError for what cannot be meant.
    """
    session = Session(directory, rng, now, trail.observe)
    op, target = str(asked["op"]), str(asked["target"])
    ids = [str(each) for each in asked.get("ids", ())]
    by: JsonObject = asked.get("by") or {}
    if not by:
        _make(session, op, target, ids, asked)
        return session.done
    if "user" in by:
        initiator = by_user(directory.collection("users")[by["user"]], rng)
    else:
        initiator = by_application(directory.collection("service_principals")[by["app"]])
    with trail.by(initiator, new_id(rng)):
        _make(session, op, target, ids, asked)
    return session.done


def _make(session: Session, op: str, target: str, ids: list[str], asked: JsonObject) -> None:
    match op:
        case "link":
            session.link(target, ids[0], ids[1])
        case "unlink":
            session.unlink(target, (ids[0], ids[1]))
        case "put":
            session.put(target, asked["object"])
        case "patch":
            session.patch(target, ids[0], asked["properties"])
        case "remove":
            session.remove(target, ids[0])
        case "soft_delete":
            session.soft_delete(target, ids[0])
        case _:
            raise ValueError(f"no such change: {op}")
