"""`--unused` of `access` and `who-can`, on a synced tenant whose activity logs were never read.

Only the users' own record tells of use there: who has not signed in at all is certain.
"""

from __future__ import annotations

import pytest

from entra_pipeline.simulator.generate import DEMO_USER_UPN
from tests.cli.program import Done, cli
from tests.support import Synced

IDLE = """
SELECT g.principal_id, g.entitlement_id
FROM grants g
JOIN principal_usage u USING (principal_id)
JOIN principals p ON p.id = g.principal_id
WHERE g.entitlement_id LIKE 'app:%' AND g.state = 'active' AND p.kind = 'user'
  AND u.idle_since < (SELECT any_value(as_of) FROM usage_coverage) - INTERVAL 90 DAY
ORDER BY ALL LIMIT 1
"""


def ask(synced: Synced, *arguments: str) -> Done:
    return cli(*arguments, env={"ENTRA_DATA_DIR": str(synced.path)})


def test_who_never_came_is_listed_and_who_may_have_come_is_counted(synced: Synced) -> None:
    ((idle, entitlement),) = ask(synced, "query", IDLE, "--json").json["rows"]
    done = ask(synced, "access", idle, "--unused", "--json")
    assert done.code == 0
    rows = {row["entitlement_id"]: row for row in done.json["entitlements"]}
    assert {row["used"] for row in rows.values()} == {"unused"}
    assert rows[entitlement]["used_90d"] == 0
    assert done.json["usage"]["days"] == 90
    assert done.json["usage"]["unknown"] > 0  # groups, say, tell of no use
    who = ask(synced, "who-can", entitlement, "--unused", "30", "--json").json
    assert idle in {row["principal_id"] for row in who["principals"]}
    assert {row["used"] for row in who["principals"]} == {"unused"}
    assert who["usage"]["days"] == 30
    shown = ask(synced, "access", idle, "--unused")
    assert "unused entitlement" in shown.out
    assert "it is not known whether they were used" in shown.err


def test_nothing_certainly_unused_is_no_certain_no(synced: Synced) -> None:
    came = IDLE.replace("idle_since <", "idle_since >=")
    ((active, _),) = ask(synced, "query", came, "--json").json["rows"]
    done = ask(synced, "access", active, "--unused", "--json")
    assert (done.code, done.json["entitlements"]) == (4, [])
    assert done.json["usage"]["unknown"] > 0


@pytest.mark.parametrize("days", ["0", "91"])
def test_days_are_those_that_the_warehouse_knows_of(synced: Synced, days: str) -> None:
    assert ask(synced, "access", DEMO_USER_UPN, "--unused", days).code == 2
