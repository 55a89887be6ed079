"""The doctor says, kind by kind, what keeps the writer from writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from entra_pipeline.doctor import diagnose
from entra_pipeline.provisioning.actions import HANDLERS
from entra_pipeline.provisioning.permissions import (
    EXCHANGE_ADMINISTRATOR,
    NEEDS,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    lacks,
)
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.simulator.process import running
from tests.provisioning.program import Program


def test_what_the_writer_lacks_is_named_by_kind_and_nothing_is_made(tmp_path: Path) -> None:
    missing = ["AppRoleAssignment.ReadWrite.All", "Device.ReadWrite.All"]
    with running(
        users=20, groups=5, seed=3, writer=True, writer_without_permission=missing
    ) as simulator:
        program = Program(simulator, tmp_path)
        found = {check.name: check for check in diagnose(program.settings()).checks}
        assert found["writer: assign_app_role"].state == "warning"
        assert "AppRoleAssignment.ReadWrite.All" in found["writer: assign_app_role"].summary
        assert "writer: add_group_member" not in found
        assert "devices (Device.ReadWrite.All)" in found["writer: some objects"].summary
        assert "os_user_approves" in found["policy"].summary
        assert found["ledger"].summary.endswith("will be made by the first request")
        assert not program.data.exists()
        closed = diagnose(program.settings(ENTRA_PROVISIONING="false")).checks
        assert not [check for check in closed if check.name.startswith("writer")]


@pytest.mark.parametrize("action", sorted(Action))
def test_every_kind_of_write_has_its_needs_and_lacks_nothing_with_them(action: Action) -> None:
    need = NEEDS[action]
    held = [each[0] for each in need.permissions] + [each for _, each in need.more]
    roles = [PRIVILEGED_AUTHENTICATION_ADMINISTRATOR, EXCHANGE_ADMINISTRATOR]
    assert lacks(held, roles, [action]) == ()
    assert [lack.whole for lack in lacks([], roles, [action])] == [True]
    assert set(HANDLERS) <= set(NEEDS)
