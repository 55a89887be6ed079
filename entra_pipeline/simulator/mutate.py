"""Random changes of a directory, one after the other, as administrators and users make them.

Here: `mutate`, which chooses among the steps of `simulator.changes`. The changes keep what Entra
keeps: no link to an object that is gone, no group directly in itself, no groups inside Microsoft
365, dynamic or role-assignable groups, no change by hand of a dynamic group's members. Not here:
how a directory stores or announces changes.
"""

import random
from datetime import UTC, datetime

from entra_pipeline.simulator.changes import (
    access,
    applications,
    devices,
    groups,
    licences,
    places,
    privileges,
    users,
)
from entra_pipeline.simulator.changes.base import Change, Directory, Observe, Session, Step

__all__ = ["Change", "Directory", "mutate"]

_STEPS: tuple[Step, ...] = (
    *groups.STEPS,
    *users.STEPS,
    *access.STEPS,
    *licences.STEPS,
    *applications.STEPS,
    *devices.STEPS,
    *places.STEPS,
    *privileges.STEPS,
)
_WEIGHTS = [weight for _, _, weight in _STEPS]
_PATIENCE = 200
"""Steps in a row that find nothing to do before an (almost) empty directory ends the series."""


def mutate(
    directory: Directory,
    rng: random.Random,
    changes: int,
    now: datetime | None = None,
    observe: Observe | None = None,
) -> list[Change]:
    """Make `changes` random steps and return everything that they changed, in order.

    `observe` is told of each change at once. A step may change several things (deleting an
    application takes its service principal along).
    Deterministic for the same directory, random state, count and `now` (UTC; default: the clock).
    Steps for which the directory holds nothing suitable are replaced by others; an empty
    directory ends the series early.
    """
    session = Session(directory, rng, now or datetime.now(UTC), observe)
    made = failures = 0
    while made < changes and failures < _PATIENCE:
        session.reason, step, _ = rng.choices(_STEPS, _WEIGHTS)[0]
        if step(session):
            made += 1
            failures = 0
        else:
            failures += 1
    return session.done
