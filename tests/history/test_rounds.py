"""Fifty rounds of change under faults and kills: what is kept up to date is what a full read gives.

The test that matters most of incremental syncs and of the history; `story` says what a round is.
A few rounds run with every suite, fifty with the soak.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.process import running
from tests.cli.program import cli
from tests.history.mishaps import Mishaps, fault, mishaps
from tests.history.story import Story

REASONS = {
    *("create a user", "create a group", "register an application", "register a device"),
    *("add a member", "remove a member", "add an owner", "remove an owner"),
    *("soft-delete a user", "delete a group", "delete an application"),
    *("hard-delete a user", "purge a deleted object", "delete a device"),
    *("restore a deleted object",),
    *("rename a user", "rename a group", "rename an application", "change a device"),
    *("assign a role", "take a role away", "change a role"),
    *("make eligible for a role", "end an eligibility", "activate a role"),
    *("end an activation of a role", "activate a group", "end an activation of a group"),
    *("assign an app role", "take an app role away", "change an application's roles"),
    *("change an application's credentials", "change an enterprise application"),
    *("consent", "change a consent", "withdraw a consent"),
    *("nest a group", "unnest a group", "close a cycle", "break a cycle"),
    *("give a licence", "take a licence away", "put into a unit", "take out of a unit"),
}
"""Kinds of change that fifty rounds must have seen."""


def asked_twice(story: Story, number: int) -> None:
    """The command says the same bytes of a round's time when it is asked again."""
    moment = story.rounds[number].after.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for what in ("effective_grants", "group_members"):
        said = [
            cli("export", what, "--as-of", moment, env={"ENTRA_DATA_DIR": str(story.data)})
            for _ in range(2)
        ]
        assert [each.code for each in said] == [0, 0], said[0].err
        assert said[0].out == said[1].out
        assert len(said[0].out.splitlines()) > 100


def live(path: Path, seed: int, planned: Sequence[Mishaps], **options: Any) -> Story:
    """A tenant's life; the story, to be asked what it was."""
    settle = options.get("log_lag", 0.0) + options.get("log_late", 0.0)
    with running(users=60, groups=40, seed=seed, **options) as simulator:
        story = Story(simulator, path, seed, settle_s=settle)
        story.run(planned)
    print(story.tally)
    assert story.tally.looks > len(planned)
    return story


@pytest.mark.timeout(900)
def test_a_few_rounds_under_faults_and_kills_leave_what_a_full_read_gives(tmp_path: Path) -> None:
    rng = random.Random(1)
    story = live(
        tmp_path,
        3,
        [
            Mishaps(),
            Mishaps(25, [fault("429", rng, times=2), fault("body cut", rng, times=2)], kills=[0.5]),
            Mishaps(60, ending=("reset", None), meanwhile=20),
            Mishaps(120, [fault("connection reset", rng, every=2, times=2)]),
        ],
        delta_page=7,
        delta_slice=3,
        delta_replays=40,
    )
    assert story.tally.kills == 1
    assert story.tally.faults.total() >= 3
    for number, built in enumerate((0, 1, 2, 0)):
        story.remember(number, built=built)


@pytest.mark.soak
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("seed", [101, 102, 103])
def test_fifty_rounds_under_faults_and_kills_leave_what_a_full_read_gives(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    options: dict[str, Any] = {}
    if seed == 101:
        # Rounds on several pages, groups in slices, earlier changes told once more, empty pages.
        options = {"delta_page": 7, "delta_slice": 3, "delta_replays": 40, "empty_pages": 3}
    if seed == 103:
        # Audits that come later than what they tell of, twice, and in no order.
        options = {"log_lag": 1.0, "log_late": 2.0, "log_repeats": 3, "log_disorder": True}
    story = live(tmp_path, seed, [Mishaps(), *(mishaps(rng) for _ in range(50))], **options)
    for number in range(51):
        story.remember(number, built=2 if number % 10 == 1 else 1)
    for number in (1, 25):
        asked_twice(story, number)
    assert story.tally.reasons.keys() >= REASONS
    assert story.tally.kills >= 10
    assert len(story.tally.faults) >= 10
    assert story.tally.endings.keys() == {"expire", "reset"}
