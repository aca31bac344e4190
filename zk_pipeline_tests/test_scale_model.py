"""The simulation behind benchmarks/scale.md: cases that can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scale_model import Company, Costs, simulate

COSTS = Costs(
    submit=1, launch=2, start=3, read=4, dead=10, dead_share=0, terminal_cpu=0, lock=5, lock_reading=1, event=7
)  # fmt: skip
LIKE_CLOCKWORK = replace(COSTS, read=0)


def test_one_terminal_takes_the_sum_of_its_steps() -> None:
    tick = simulate(Company(1, per_site=1), LIKE_CLOCKWORK)
    assert tick.done == [1 + 2 + 3 + 0 + (5 + 1) + 7]
    assert (tick.locked, tick.transactions, tick.waits, tick.daemon) == (6, 1, [0], 3)


def test_terminals_that_do_not_answer_are_recorded_together() -> None:
    tick = simulate(Company(3, per_site=3), replace(LIKE_CLOCKWORK, dead_share=1))
    assert tick.done == [1 + 2 + 3 + 10 + (5 + 7) + (5 + 2 * 7)]
    assert tick.transactions == 2, "the first alone, then those that timed out during its transaction"


def test_readings_that_arrive_while_the_store_is_locked_are_stored_together() -> None:
    tick = simulate(Company(40, per_site=40), LIKE_CLOCKWORK)
    assert tick.transactions == 3, "one alone, then a full batch, then the rest"
    assert tick.locked == 3 * 5 + 40


@pytest.mark.parametrize("slots", [1, 3, 100])
def test_sites_share_one_store_and_so_many_runs(slots: int) -> None:
    company = Company(400, per_site=40, slots=slots)
    tick = simulate(company, COSTS)
    assert len(tick.done) == company.sites == 10
    assert max(tick.done) >= tick.locked, "one lock holder at a time"
    alone = max(simulate(Company(40, per_site=40), COSTS).done)
    if slots == 1:
        assert max(tick.done) > 5 * alone, "one after the other"


def test_separate_stores_share_the_sites() -> None:
    one, four = (simulate(Company(16_000, stores=stores), COSTS) for stores in (1, 4))
    assert len(four.done) == len(one.done) // 4 == 32
    assert four.locked < one.locked / 3


def test_transactions_that_wait_together_lock_the_store_once() -> None:
    costs = replace(LIKE_CLOCKWORK, submit=0, launch=0)
    alone, together = (simulate(Company(3, per_site=1, together=many), costs) for many in (1, 3))
    assert (alone.transactions, alone.locked) == (3, 3 * (5 + 1))
    assert (together.transactions, together.locked) == (2, 2 * 5 + 3), "the first, then those that waited for it"
