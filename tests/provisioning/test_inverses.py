"""What a plan says takes it back does: the tenant is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from entra_pipeline.msgraph import Service, Write
from entra_pipeline.provisioning.actions import HANDLERS
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import FactReader
from entra_pipeline.provisioning.sealing import SealedFiles
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Mode, Revoke, UpdateProfile
from entra_pipeline.simulator.process import Simulator
from tests.provisioning import kinds
from tests.provisioning.clock import Clock
from tests.provisioning.kinds import KINDS, Kind
from tests.provisioning.lists import Lists
from tests.provisioning.making import grant
from tests.provisioning.people import somebody
from tests.provisioning.stage import Stage, staged
from tests.provisioning.walking import steps

LISTS = {
    "role_assignments": ("principalId", "roleDefinitionId", "directoryScopeId"),
    "role_assignment_schedule_instances": ("principalId", "roleDefinitionId", "directoryScopeId"),
    "role_eligibility_schedule_instances": ("principalId", "roleDefinitionId", "directoryScopeId"),
    "group_assignment_schedule_instances": ("principalId", "groupId", "accessId"),
    "group_eligibility_schedule_instances": ("principalId", "groupId", "accessId"),
    "app_role_assignments": ("principalId", "resourceId", "appRoleId"),
}
LINKS = ("group_members", "group_owners", "managers")
PROPERTIES = ("accountEnabled", "jobTitle", "city", "department", "onPremisesExtensionAttributes")


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """SQLite alone: nothing here is different for another ledger."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def stage(ledger: Ledger, trusting: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    clock.now = datetime.now(UTC)
    key = str(pyrage.x25519.Identity.generate().to_public())
    vault = SealedFiles(tmp_path / "sealed", [key])
    with staged(ledger, trusting, tmp_path, clock, vault=vault, exchange=True) as opened:
        yield opened


def picture(simulator: Simulator) -> dict[str, Any]:
    """The tenant as far as requests change it, without ids and times of its own making."""
    found: dict[str, Any] = {
        name: sorted(tuple(str(row.get(key)) for key in keys) for row in simulator.truth(name))
        for name, keys in LISTS.items()
    }
    for name in LINKS:
        links = simulator.truth(name)
        found[name] = {
            key: sorted(ends) if isinstance(ends, list) else ends
            for key, ends in links.items()
            if ends
        }
    lists = Lists(simulator)  # Exchange's own; Graph hears of a change later
    for name, held in (("list members", lists.members), ("list owners", lists.owners)):
        found[name] = {key: sorted(ends) for key, ends in held.items()}
    for user in simulator.truth("users"):
        found[user["id"]] = [
            *(user.get(name) for name in PROPERTIES),
            sorted(
                (state["skuId"], str(state["assignedByGroup"]), sorted(state["disabledPlans"]))
                for state in user["licenseAssignmentStates"]
            ),
        ]
    return found


def undone(operation: Operation) -> Operation:
    """The operation that takes another back."""
    assert operation.inverse is not None
    inverse = operation.inverse
    return operation.model_copy(
        update={"action": inverse.action, "arguments": inverse.arguments, "preconditions": ()}
    )


def profile(simulator: Simulator) -> tuple[Any, list[str]]:
    attributes = {"extensionAttribute3": "x"}
    user = somebody(simulator)
    body = UpdateProfile(user_id=user, department="ICU", extension_attributes=attributes)
    return body, ["update_user"]


REVERSIBLE = [
    kind
    for kind in KINDS
    if kind
    not in (
        kinds.new_user,  # taken back by a person's deletion: the account goes on being known
        kinds.guest,
        kinds.group,
        kinds.password,
        kinds.leaver,  # sessions and methods do not come back
        kinds.sessions,
        kinds.methods,
    )
]


@pytest.mark.parametrize("kind", [*REVERSIBLE, profile])
def test_the_inverse_brings_back_what_was(stage: Stage, kind: Kind) -> None:
    body, _ = kind(stage.simulator)
    before = picture(stage.simulator)
    back_and_forth(stage, body)
    assert picture(stage.simulator) == before


def test_what_pim_gave_until_then_is_given_until_then_again(stage: Stage) -> None:
    body, _ = kinds.pim_role(stage.simulator)
    stage.done(grant(body=body, expires_at=stage.clock() + timedelta(hours=3)))

    def ends() -> list[str]:
        rows = stage.simulator.truth("role_assignment_schedule_instances")
        found = [row["endDateTime"] for row in rows if row["principalId"] == body.principal_id]
        return [each[:19] for each in found]

    before = ends()
    stage.clock.now -= timedelta(hours=1)  # it ran ahead of the tenant's
    revoke = Revoke(principal_id=body.principal_id, access=body.access, mode=body.mode)
    back_and_forth(stage, revoke)
    assert ends() == before
    stage.done(grant(body=revoke))


def back_and_forth(stage: Stage, body: Any) -> None:
    """Carry a request out, and then the inverse of what its plan did."""
    more = {}
    if getattr(body, "mode", None) is Mode.PIM_ACTIVE and body.kind == "grant":
        more = {"expires_at": stage.clock() + timedelta(hours=4)}
    before = picture(stage.simulator)
    (filed,) = stage.done(grant(body=body, **more))
    assert filed.state is RequestState.DONE, filed.reasons
    assert picture(stage.simulator) != before
    inverse = undone(steps(stage, filed)[0].operation)
    handler = HANDLERS[inverse.action]
    reader = FactReader(stage.client, exchange=stage.exchange)
    facts = reader.read(handler.reads(inverse))
    seen = handler.see(inverse, facts)
    assert not seen.holds
    call = handler.call(inverse, seen, stage.client.origin.base)
    writer = stage.client.writer(stage.gate)
    if call.service is Service.EXCHANGE and stage.exchange is not None:
        writer = stage.exchange.writer(stage.gate)
    (written,) = writer.write([Write("1", call.method, call.url, call.body)])
    assert handler.judge(inverse, written).state is O.WRITTEN, written.error
    facts = reader.read(handler.reads(inverse))
    assert handler.see(inverse, facts).holds
