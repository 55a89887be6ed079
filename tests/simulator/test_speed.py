"""The simulator at full size: soon ready, and cheaper to ask than to listen to."""

import json
import time

import pytest

from entra_pipeline.simulator.process import running
from tests.simulator.conftest import Client

SELECT = (
    "id,userPrincipalName,displayName,givenName,surname,mail,otherMails,proxyAddresses,"
    "accountEnabled,userType,createdDateTime,employeeId,employeeType,department,companyName,"
    "jobTitle,usageLocation,onPremisesSyncEnabled,onPremisesExtensionAttributes,assignedLicenses,"
    "licenseAssignmentStates,lastPasswordChangeDateTime,identities"
)


def download(client: Client, big_groups: list[str]) -> None:
    """Users, groups with first members, and the other members in batches; all thrown away."""
    for path in (
        f"/users?$top=999&$select={SELECT}",
        "/groups?$top=999&$select=id,displayName&$expand=members($select=id)",
    ):
        link: str | None = path
        while link is not None:
            body = client.get(link).content
            start = body.find(b'"@odata.nextLink":"', 0, 2000)
            end = body.find(b'"', start + 19)
            link = body[start + 19 : end].decode() if start >= 0 else None
    for start in range(0, len(big_groups), 20):
        items = [
            {"id": group, "method": "GET", "url": f"/groups/{group}/members?$select=id&$top=999"}
            for group in big_groups[start : start + 20]
        ]
        answer = client.session.post(
            f"{client.base}/v1.0/$batch",
            data=json.dumps({"requests": items}),
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        assert answer.status_code == 200
        assert len(answer.content) > 100


@pytest.mark.soak
def test_at_a_hundred_thousand_users_serving_costs_less_than_downloading() -> None:
    started = time.monotonic()
    with running(users=100_000, groups=30_000, seed=7) as simulator:
        assert time.monotonic() - started < 60
        big = [group for group, held in simulator.truth("group_members").items() if len(held) > 20]
        client = Client(simulator, secure=True)
        download(client, big)
        simulator.reset_stats()
        before = time.process_time()
        download(client, big)
        spent = time.process_time() - before
        stats = simulator.stats()
    assert stats["requests"] > 5000
    assert stats["cpu_s"] <= spent
    assert stats["max_rss_bytes"] < 3 * 1024**3
