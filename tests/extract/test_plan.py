"""Which reads share batches, and what that costs in round trips, on measured and drawn sizes."""

from __future__ import annotations

import heapq
import random
import statistics

import pytest

from entra_pipeline.extract.plan import BATCH, Plan, Read

PAGE = 999


def pages(size: int) -> int:
    return max(1, -(-size // PAGE))


def send_all(
    sizes: list[int],
    *,
    listed_at_once: int,
    seed: int,
    width: int = 8,
    expected: int = 1,
    known: bool = False,
) -> tuple[int, float]:
    """Round trips and rounds that reading groups of these sizes takes; answers in random order.

    The groups become known list page by list page, each round one. The first size is that of the
    group that looks as if it were large (a rule with one clause). `known`: an earlier sync told
    the sizes.
    """
    rng = random.Random(seed)
    plan: Plan[int] = Plan(width)
    left = {key: pages(size) for key, size in enumerate(sizes)}
    keys = list(left)
    rng.shuffle(keys)
    events: list[tuple[float, int, list[int] | list[Read[int]]]] = []
    lists = [keys[start : start + listed_at_once] for start in range(0, len(keys), listed_at_once)]
    for number, listed in enumerate(lists):
        heapq.heappush(events, (number + 1.0, number, listed))
    sent, now, most = 0, 0.0, 0
    while events:
        now, number, content = heapq.heappop(events)
        if number < len(lists):
            for key in content:
                assert isinstance(key, int)
                plan.add([Read(key, f"/{key}", left[key] if known else 1, urgency=int(key == 0))])
            if number == len(lists) - 1:
                plan.longest_expected = expected
                plan.close()
        else:
            plan.answered(content)  # type: ignore[arg-type]
            for read in content:
                assert isinstance(read, Read)
                left[read.key] -= 1
                if left[read.key]:
                    plan.proceed(read, "/next", left[read.key])
        while batch := plan.next_batch():
            assert len(batch) <= BATCH
            sent += 1
            most = max(most, plan.in_flight)
            heapq.heappush(events, (now + rng.uniform(0.9, 1.3), len(lists) + sent, batch))
    assert plan.finished()
    assert not any(left.values())
    assert most <= width
    return sent, now


def test_many_short_reads_go_side_by_side_in_full_batches() -> None:
    sent, rounds = send_all([30] * 400, listed_at_once=400, seed=1)
    assert sent == 20
    assert rounds < 5.5


def test_one_chain_alone_costs_its_pages() -> None:
    sent, _ = send_all([100_000], listed_at_once=10, seed=1)
    assert sent == 101


def test_a_chain_shares_its_batches_with_the_rest() -> None:
    sizes = [100_000] + [30] * 6000
    sent, rounds = send_all(sizes, listed_at_once=6001, seed=3, expected=50)
    assert sent <= 1.1 * sum(map(pages, sizes)) / BATCH
    assert rounds < 160


def heavy_tailed(seed: int) -> list[int]:
    """Sizes of 6,000 groups like those of a tenant of 100,000 people."""
    rng = random.Random(seed)
    sizes = [90_000] + [int(min(500 * (1 - rng.random()) ** -0.8, 60_000)) for _ in range(300)]
    return sizes + [int(20 * 24 ** (rng.random() ** 1.3)) for _ in range(5700)]


def ratio(seed: int, *, known: bool) -> float:
    """Round trips, those of the listing included, to the least possible."""
    sizes = heavy_tailed(seed)
    sent, _ = send_all(sizes, listed_at_once=200, seed=seed, expected=50, known=known)
    return (30 + sent) / (30 + sum(map(pages, sizes)) / BATCH)


@pytest.mark.parametrize("seed", range(4))
def test_heavy_tails_of_known_sizes_stay_within_a_tenth_of_the_least(seed: int) -> None:
    assert ratio(seed, known=True) <= 1.1


def test_heavy_tails_of_unknown_sizes_stay_within_a_tenth_of_the_least_on_average() -> None:
    assert statistics.mean(ratio(seed, known=False) for seed in range(8)) <= 1.1


def test_a_longer_guess_and_then_a_more_urgent_one_go_first() -> None:
    plan: Plan[str] = Plan(1)
    plan.add(Read(f"plain {n}", "/", 1, 0) for n in range(30))
    plan.add([Read("urgent", "/", 1, 3), Read("long", "/", 7)])
    plan.close()
    assert [read.key for read in plan.next_batch()[:3]] == ["long", "urgent", "plain 0"]


def test_while_more_may_come_only_full_batches_are_sent_and_one_at_a_time() -> None:
    plan: Plan[int] = Plan(8)
    plan.add(Read(n, "/") for n in range(15))
    assert plan.next_batch() == []
    plan.add(Read(n, "/") for n in range(15, 60))
    first = plan.next_batch()
    assert len(first) == BATCH
    assert plan.next_batch() == []
    plan.answered(first)
    assert len(plan.next_batch()) == BATCH


def test_a_plan_without_reads_is_finished_when_closed() -> None:
    plan: Plan[int] = Plan(8)
    assert not plan.finished()
    plan.close()
    assert plan.finished()
