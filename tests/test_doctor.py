"""The doctor names what stands in the way of a sync, with the remedy, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.doctor import Check, Diagnosis, diagnose
from entra_pipeline.lake import DataDirectory
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator, running


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running(users=20, groups=5, seed=1) as started:
        yield started


def settings_of(simulator: Simulator, data_dir: Path, **more: Any) -> Settings:
    names = {
        name.removeprefix("ENTRA_").lower(): value
        for name, value in simulator.settings_env().items()
    }
    return Settings.load(**{**names, "data_dir": data_dir, "max_attempts": 2, **more})


def states(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.state for check in diagnosis.checks}


def the(diagnosis: Diagnosis, name: str) -> Check:
    [check] = [check for check in diagnosis.checks if check.name == name]
    return check


def test_a_healthy_tenant_passes_every_check_and_nothing_is_made(simulator, tmp_path):
    data = tmp_path / "data"
    found = diagnose(settings_of(simulator, data), dagster_storage=lambda: "SQLite in .dagster")
    assert states(found) == dict.fromkeys(
        (
            "settings",
            "token",
            "clock",
            "permissions",
            "licence",
            "cloud features",
            "data directory",
            "Dagster storage",
        ),
        "ok",
    )
    assert found.can_sync
    assert the(found, "licence").summary == "Microsoft Entra ID P2"
    document = json.loads(json.dumps(found.to_json()))
    assert document["can_sync"] is True
    assert set(document["checks"][0]) == {"name", "state", "summary", "remedy"}
    assert not data.exists()


def test_a_wrong_secret_fails_and_what_needs_a_token_is_skipped(simulator, tmp_path):
    found = diagnose(settings_of(simulator, tmp_path, client_secret="wrong"))
    token = the(found, "token")
    assert token.state == "failed"
    assert "ENTRA_CLIENT_SECRET" in token.summary
    assert "wrong" not in token.summary.split("ENTRA_CLIENT_SECRET")[1]
    assert states(found)["permissions"] == "skipped"
    assert not found.can_sync


def test_a_certificate_that_cannot_be_read_is_named(simulator, tmp_path):
    pem = tmp_path / "broken.pem"
    pem.write_text("not a certificate")
    settings = settings_of(simulator, tmp_path, auth="certificate", client_certificate_path=pem)
    found = diagnose(settings)
    failed = [check for check in found.checks if check.state == "failed"]
    assert any("ENTRA_CLIENT_CERTIFICATE_PATH" in check.summary for check in failed)
    assert not found.can_sync


def test_missing_permissions_are_named_with_the_tables_that_they_unlock(tmp_path):
    without = ["AuditLog.Read.All", "Device.Read.All", "Directory.Read.All"]
    with running(users=20, groups=5, seed=1, without_permission=without) as simulator:
        found = diagnose(settings_of(simulator, tmp_path))
        check = the(found, "permissions")
        assert check.state == "warning"
        assert "Device.Read.All for devices, device_owners" in check.summary
        assert "AuditLog.Read.All for user_registration_details" in check.summary
        assert "user_sign_in_activity" not in check.summary
        assert found.can_sync
        asking = diagnose(settings_of(simulator, tmp_path, sign_in_activity=True))
        assert "user_sign_in_activity" in the(asking, "permissions").summary


def test_an_application_without_any_permission_cannot_sync(simulator, tmp_path):
    granted = diagnose(settings_of(simulator, tmp_path))
    assert granted.can_sync
    names = [
        "Directory.Read.All", "User.Read.All", "Group.Read.All", "GroupMember.Read.All",
        "Application.Read.All", "Device.Read.All", "Organization.Read.All", "Domain.Read.All",
        "OrgContact.Read.All", "AuditLog.Read.All", "AdministrativeUnit.Read.All",
        "RoleManagement.Read.Directory", "RoleAssignmentSchedule.Read.Directory",
        "RoleEligibilitySchedule.Read.Directory", "LicenseAssignment.Read.All",
        "PrivilegedAssignmentSchedule.Read.AzureADGroup", "Policy.Read.All",
        "PrivilegedEligibilitySchedule.Read.AzureADGroup", "Synchronization.Read.All",
    ]  # fmt: skip
    with running(users=20, groups=5, seed=1, without_permission=names) as bare:
        found = diagnose(settings_of(bare, tmp_path))
        assert the(found, "permissions").state == "failed"
        assert the(found, "licence").state == "skipped"
        assert not found.can_sync


@pytest.mark.parametrize(
    ("license", "absent", "present"),
    [
        ("free", "role_eligibility_schedule_instances", None),
        ("p1", "role_eligibility_schedule_instances", "conditional_access_policies"),
    ],
)
def test_tables_that_the_licence_does_not_give_are_named(tmp_path, license, absent, present):
    with running(users=20, groups=5, seed=1, license=license) as simulator:
        check = the(diagnose(settings_of(simulator, tmp_path)), "licence")
        assert check.state == "warning"
        assert absent in check.summary
        assert present is None or present not in check.summary


def test_collections_that_the_cloud_lacks_are_named(tmp_path, simulator):
    body = {
        "error": {
            "code": "BadRequest",
            "message": "Resource not found for the segment 'conditionalAccess'.",
        }
    }
    simulator.faults(
        [{"match": {"path": "conditionalAccess"}, "respond": {"status": 400, "body": body}}]
    )
    check = the(diagnose(settings_of(simulator, tmp_path)), "cloud features")
    simulator.faults([])
    assert check.state == "warning"
    assert "conditional_access_policies" in check.summary


def test_an_unreachable_graph_is_told_apart_from_a_refused_sign_in(simulator, tmp_path):
    simulator.faults([{"match": {"path": r"\$batch"}, "respond": {"status": 503}}])
    found = diagnose(settings_of(simulator, tmp_path))
    simulator.faults([])
    assert the(found, "token").state == "ok"
    assert the(found, "Microsoft Graph").state == "failed"
    assert not found.can_sync


def test_a_clock_that_is_wrong_is_noticed(tmp_path):
    with running(users=20, groups=5, seed=1) as simulator:
        for further, state in ((100, "warning"), (800, "failed")):
            simulator.advance(further)
            check = the(diagnose(settings_of(simulator, tmp_path)), "clock")
            assert check.state == state
            assert "behind" in check.summary


def test_a_data_directory_of_another_tenant_is_refused_by_name(simulator, tmp_path):
    other = "00000000-1111-2222-3333-444444444444"
    DataDirectory.claim(tmp_path / "data", other)
    check = the(diagnose(settings_of(simulator, tmp_path / "data")), "data directory")
    assert check.state == "failed"
    assert other in check.summary


def test_a_data_directory_in_use_or_open_to_others_is_a_warning(simulator, tmp_path):
    settings = settings_of(simulator, tmp_path / "data")
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    with directory.lock(command="entra-pipeline sync"):
        busy = the(diagnose(settings), "data directory")
    assert (busy.state, "entra-pipeline sync" in busy.summary) == ("warning", True)
    directory.path.chmod(0o755)
    assert the(diagnose(settings), "data directory").state == "warning"
    directory.path.chmod(0o700)
    assert the(diagnose(settings), "data directory").state == "ok"


def test_a_data_directory_that_cannot_be_made_fails(simulator, tmp_path):
    (tmp_path / "file").write_text("")
    found = diagnose(settings_of(simulator, tmp_path / "file" / "data"))
    assert the(found, "data directory").state == "failed"


def test_what_dagsters_storage_says_is_shown(simulator, tmp_path):
    def broken() -> str:
        raise RuntimeError("the storage named in dagster.yaml cannot be opened")

    found = diagnose(settings_of(simulator, tmp_path), dagster_storage=broken)
    assert the(found, "Dagster storage").state == "failed"
    assert "dagster.yaml" in the(found, "Dagster storage").summary
    assert the(diagnose(settings_of(simulator, tmp_path)), "Dagster storage").state == "skipped"


def test_a_token_of_another_tenant_is_refused(simulator, tmp_path):
    other = "00000000-1111-2222-3333-444444444444"
    found = diagnose(settings_of(simulator, tmp_path, tenant_id=other))
    assert the(found, "token").state == "failed"
