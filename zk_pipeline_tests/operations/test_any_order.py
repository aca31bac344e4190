"""Any order of punches, polls, uploads, processing and kills results in the same attendance days."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.config.settings import Settings
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.attendance.any_company import Worked, companies
from zk_pipeline_tests.attendance.plain_company import plain_days, work_date
from zk_pipeline_tests.operations.company_fixtures import (
    establish,
    made_days,
    process_stale,
    push,
    read,
    settings_of,
    stale,
)
from zk_pipeline_tests.operations.killed import Killed, killed
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied, rows

LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)
CURRENT = "SELECT site, user_id, work_date, payload_hash FROM daily_attendance ORDER BY ALL"
HISTORY = """
SELECT site, user_id, work_date, list(revision ORDER BY revision), list(payload_hash ORDER BY revision),
       list(is_retracted ORDER BY revision)
FROM daily_attendance_revisions GROUP BY ALL ORDER BY ALL
"""
DELIVERIES = """
SELECT user_id, work_date, list(revision ORDER BY revision), list(state ORDER BY revision)
FROM crm_deliveries GROUP BY ALL ORDER BY ALL
"""
READ, PUSH, PROCESS = "read", "push", "process"


def store_of(worked: Worked, template: Where, folder: Path) -> tuple[Store, Settings]:
    folder.mkdir()
    store = copied(template, folder, StoppedClock(LONG_AFTER))
    establish(store, worked)
    config = settings_of(worked.company, folder / "home")
    assert stale(store, config) == []  # and from here on work dates begin where the settings say
    return store, config


@st.composite
def arrivals(draw: st.DrawFn, most: int) -> list[tuple[float, Killed | str]]:
    """Where the punches are cut into polls and uploads, and what happens with each; two kills at least."""
    then = st.sampled_from([READ, PUSH, PROCESS, *Killed])
    held = draw(st.lists(st.tuples(st.floats(0, 1), then), min_size=1, max_size=most))
    held += [(draw(st.floats(0, 1)), draw(st.sampled_from([Killed.AFTER_READING, Killed.WHILE_WRITING])))]
    held += [(draw(st.floats(0, 1)), draw(st.sampled_from(list(Killed))))]
    return sorted(draw(st.permutations(held)), key=lambda part: part[0])


def go_through(worked: Worked, parts: list[tuple[float, Killed | str]], store: Store, config: Settings) -> None:
    """Each part is read or pushed, perhaps processed, perhaps by a killed process; stale dates are compared."""
    touched: set[date] = set()
    stored: set[object] = set()
    begin, at = 0, store.database.where
    for share, then in [*parts, (1.0, PROCESS)]:
        end = max(begin, round(share * len(worked.punches)))
        again = worked.punches[: min(begin, 3)]  # what is known already comes along
        held = [*worked.punches[begin:end], *again]
        if then is Killed.WHILE_READING and not held:
            continue
        if isinstance(then, Killed):
            killed(then, at, LONG_AFTER, config, held)
        else:
            (push if then == PUSH else read)(store, held)
        if then is Killed.WHILE_READING:
            assert stale(store, config) == sorted(touched)
            continue  # the next poll brings them again
        touched |= {work_date(worked.company, one) for one in held if one not in stored}
        stored |= set(held)
        begin = end
        if then is Killed.AFTER_WRITING:
            touched = set()
        assert stale(store, config) == sorted(touched)
        if then == PROCESS:
            done = process_stale(store, config)
            assert [one.work_date for one in done.written] == sorted(touched)
            touched = set()


def check_promises(store: Store) -> None:
    """A person's revisions without gaps, each of other content than the one before there; one record is due."""
    current = {row[:3]: row[3] for row in rows(store, CURRENT)}
    seen: dict[tuple[object, ...], list[list[int]]] = {}
    for *key, revisions, hashes, retracted in rows(store, HISTORY):
        seen.setdefault(tuple(key[1:]), []).append(revisions)
        assert all(one != other for one, other in pairwise(hashes))
        assert retracted[-1] is (tuple(key) not in current)
        assert retracted[-1] or hashes[-1] == current[tuple(key)]
    deliveries = {row[:2]: row[2:] for row in rows(store, DELIVERIES)}
    assert seen.keys() == deliveries.keys() >= {key[1:] for key in current}
    for person, of_sites in seen.items():
        delivered, states = deliveries[person]
        made = sorted(chain(*of_sites))
        assert made == list(range(1, len(made) + 1))
        assert set(delivered) <= set(made) if len(of_sites) > 1 else delivered == made
        assert states == ["superseded"] * (len(delivered) - 1) + ["pending"]


@pytest.mark.closed_stores
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("examples", "people"), [(2, 15), pytest.param(60, 30, marks=pytest.mark.stress)])
def test_any_order_any_split_and_any_kills_end_in_the_same_days(
    examples: int, people: int, empty_store_file: Where, record_property: Callable[[str, object], None]
) -> None:
    counted: Counter[str] = Counter()

    # A failure is reported as found: shrinking it would take many more stores and kills.
    @settings(
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],
    )
    @given(companies(users=people).flatmap(_shuffled), arrivals(3))
    def every(worked: Worked, parts: list[tuple[float, Killed | str]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store, config = store_of(worked, empty_store_file, Path(folder) / "in parts")
            go_through(worked, parts, store, config)
            whole, _ = store_of(worked, empty_store_file, Path(folder) / "at once")
            read(whole, worked.punches)
            process_stale(whole, config)
            assert made_days(store) == made_days(whole)
            assert len(made_days(store)) == len(plain_days(worked.company, worked.punches, LONG_AFTER))
            assert rows(store, CURRENT) == rows(whole, CURRENT)
            check_promises(store)
            check_promises(whole)
            counted["rows"] += len(made_days(store))
        counted["orders"] += 1
        counted.update(then.name if isinstance(then, Killed) else then for _, then in parts)

    every()
    record_property("compared", ", ".join(f"{count:,} {what}" for what, count in sorted(counted.items())))


def _shuffled(worked: Worked) -> st.SearchStrategy[Worked]:
    return st.integers(0, 2**32).map(
        lambda seed: replace(worked, punches=random.Random(seed).sample(worked.punches, len(worked.punches)))
    )
