"""The policy file: what it means, and what is said of a wrong one."""

from datetime import timedelta
from pathlib import Path

import pytest

from entra_pipeline.provisioning.policy import Policy, PolicyError
from entra_pipeline.provisioning.values import Identity, IdentityKind, Tier
from tests.provisioning.making import guid, person

FULL = f"""
version: 1
kinds:
  delete_user: {{ask: ["entra:{guid(901)}"]}}
  revoke_mfa: {{ask: []}}
approvals: {{control: 3, sensitive: 2}}
unapproved: [check_upn, enable_user]
approvers: ["entra:{guid(902)}", "os_user:keeper"]
os_user_approves: true
separate: {{requester: false}}
longest: {{control: 30m, sensitive: 90d}}
protected:
  principals: ["{guid(1).upper()}"]
  groups: ["{guid(2)}"]
conflicts:
  - name: payments
    sides: [["group:{guid(3)}:member"], ["app:{guid(4)}:{guid(5)}"]]
    exceptions:
      - {{principal: "{guid(6)}", until: 2026-12-31T00:00:00Z, reason: month-end cover}}
limits:
  plan: {{gained: 10, lost: 5}}
  day: {{lost_percent: 0.5}}
"""


def test_a_whole_policy_says_what_it_says() -> None:
    policy = Policy.parse(FULL)
    assert not policy.may_ask("delete_user", person(2))
    assert policy.may_ask("delete_user", person(1))
    assert not policy.may_ask("revoke_mfa", person(1))
    assert policy.may_ask("grant", person(7))
    assert [policy.approvals.needed(tier) for tier in Tier] == [3, 2, 1]
    assert policy.may_approve(person(2))
    assert not policy.may_approve(person(3))
    keeper = Identity(kind=IdentityKind.OS_USER, subject="keeper", machine="host")
    assert policy.may_approve(keeper)
    assert policy.longest.of(Tier.CONTROL) == timedelta(minutes=30)
    assert policy.longest.of(Tier.ORDINARY) is None
    assert policy.protected.principals == (guid(1),)
    assert (policy.limits.plan.lost, policy.limits.hour.lost) == (5, 500)


def test_without_a_file_the_safe_defaults_hold(tmp_path: Path) -> None:
    policy = Policy.load(tmp_path / "policy.yaml")
    assert policy == Policy()
    assert policy.approvals.needed(Tier.CONTROL) == 2
    assert policy.approvals.needed(Tier.ORDINARY) == 1
    assert not policy.may_approve(Identity(kind=IdentityKind.OS_USER, subject="me"))
    assert (policy.separate.requester, policy.separate.beneficiary) == (True, True)
    assert policy.limits.plan.lost is not None


def test_the_hash_follows_the_meaning_and_not_the_text() -> None:
    same = FULL.replace("30m", '"30 m"').replace(guid(1).upper(), guid(1)) + "# a remark"
    assert Policy.parse(same).hash == Policy.parse(FULL).hash
    assert Policy.parse("version: 1").hash == Policy().hash
    assert Policy.parse(FULL.replace("30m", "31m")).hash != Policy.parse(FULL).hash
    assert Policy.parse(FULL.replace("0.5", "0.6")).hash != Policy.parse(FULL).hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with `version: 1`"),
        ("- 1", "does not begin with `version: 1`"),
        ("kinds: {}", r"version: Input should be 1"),
        ("version: 2", r"version: Input should be 1"),
        ("version: 1\nlimit: {}", r"limit: Extra inputs are not permitted"),
        ("version: 1\nversion: 1", r"in line 2: 'version' comes twice"),
        ("version: 1\nkinds: {grand: {}}", "no such kind: grand"),
        ("version: 1\nlongest: {control: 8 hours}", "longest.control: .*30m, 8h or 90d"),
        ("version: 1\nlimits: {plan: {lost: -1}}", "limits.plan.lost: .*greater than or equal"),
        ("version: 1\nprotected: {groups: [admins]}", "protected.groups.0: .*not an object id"),
        ("version: 1\n  approvals: {", "is not YAML in line 2"),
        (
            "version: 1\nconflicts: [{name: a, sides: [[x, y], [y]]}]",
            "conflicts.0: .*y stands on both sides",
        ),
        ("version: 1\nconflicts: [{name: a, sides: [[x]]}]", "conflicts.0.sides"),
        ("version: 1\nx: !!python/object/apply:os.system [id]", "is not YAML in line 2"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_place_and_the_reason(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        Policy.parse(text)


def test_a_file_that_cannot_be_read_is_no_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.load(tmp_path / "policy.yaml")
