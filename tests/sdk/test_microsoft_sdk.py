"""Microsoft's own Python SDK and MSAL work against the simulator unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.sdk_environment import sdk_python
from entra_pipeline.simulator.process import running

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def seen_and_truth() -> Any:
    with running(users=320, groups=60, seed=11, http=True) as sim:
        info = {name: str(getattr(sim.info, name)) for name in READY}
        with tempfile.TemporaryDirectory() as folder:
            ready = Path(folder) / "ready.json"
            ready.write_text(json.dumps(info))
            # requests lets these win over what the SDK is told to trust.
            trust = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}
            done = subprocess.run(
                [str(sdk_python()), str(HERE / "sdk_session.py"), str(ready)],
                capture_output=True,
                text=True,
                timeout=240,
                env={name: value for name, value in os.environ.items() if name not in trust},
            )
        assert done.returncode == 0, done.stderr[-4000:]
        base = sim.info.http_graph_url
        truth = {
            name: requests.get(f"{base}/_sim/tenant/{name}", timeout=30).json()
            for name in ("users", "groups", "group_members", "service_principals")
        }
        yield json.loads(done.stdout.splitlines()[-1]), truth


READY = ("graph_url", "authority_url", "tenant_id", "client_id", "client_secret", "ca_file")
pytestmark = pytest.mark.soak  # its environment is half a gigabyte


def test_page_iterator_returns_every_user_once(seen_and_truth: Any) -> None:
    seen, truth = seen_and_truth
    assert seen["users"] == sorted(user["id"] for user in truth["users"])
    assert seen["enabled_is_bool"]


def test_members_are_typed_and_lack_only_service_principals(seen_and_truth: Any) -> None:
    seen, truth = seen_and_truth
    hidden = {row["id"] for row in truth["service_principals"]}
    assert seen["members"]
    for group, members in seen["members"].items():
        expected = set(truth["group_members"].get(group, [])) - hidden
        assert {member for member, _ in members} <= expected
        assert len(members) == min(len(expected), 100)  # Graph's default page
        assert all(kind.startswith("#microsoft.graph.") for _, kind in members)


def test_a_delta_round_holds_every_user_and_ends_in_a_quiet_link(seen_and_truth: Any) -> None:
    seen, truth = seen_and_truth
    assert set(seen["delta"]) >= {user["id"] for user in truth["users"]}
    assert seen["delta_link"]
    assert seen["quiet_round"] == 0


def test_a_batch_of_twenty_answers_each_item(seen_and_truth: Any) -> None:
    seen, _ = seen_and_truth
    assert len(seen["batch"]) == 20
    assert {status for _, status in seen["batch"]} == {200}


def test_an_unknown_user_is_microsofts_own_error_object(seen_and_truth: Any) -> None:
    seen, _ = seen_and_truth
    assert seen["error"]["status"] == 404
    assert seen["error"]["code"] == "Request_ResourceNotFound"
    assert seen["error"]["request_id"]


def test_msal_gets_a_bearer_token(seen_and_truth: Any) -> None:
    seen, _ = seen_and_truth
    assert seen["msal"] == {"type": "Bearer", "error": None}
