"""Fuzz test of transport and decoder with mutated answers: correct data or a named error, in bounded time and memory.

`REPRODUCE=<case number>` replays one case. Counted separately, and only required not to crash: payload
changed under a valid checksum, which is not detectable, and data packets swapped on TCP.
"""

from __future__ import annotations

import os
import random
import sys
import time
import tracemalloc
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.models import Protocol
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline_tests.devices.matrix.matrix_judge import RIGHT, WAITING, WRONG, verdict
from zk_pipeline_tests.devices.terminal_replay import Mutation, Recording, Replay, mutate, record, replaying, unchanged

SEED = 20_261_122
CASES_AT_ONCE = 125
DEADLINE = 3.0
# A reading here has 3 kB; mutations may announce frames of up to 8 MB and tables of up to 256 MB.
PEAK_BYTES = 4 << 20
GROWTH_BYTES = 48 << 20  # of the process over thousands of cases

TIMEOUT = {"tcp": 1.0, "udp": 0.006}  # over UDP only the timeout ends a reading
SHAPES_AND_RECORDS = [("8", 12), ("8", 300), ("8-MA300", 100), ("16", 150), ("40", 20), ("40", 60), ("49", 50)]
PROTOCOLS: list[Protocol] = ["tcp", "udp"]
APART = {RIGHT: "of no effect", WAITING: "of no effect", WRONG: "accepted"}


@cache
def recordings() -> list[Recording]:
    return [
        record(shape, records, protocol, is_numbered=is_numbered)
        for shape, records in SHAPES_AND_RECORDS
        for protocol in PROTOCOLS
        # Over UDP, packets without numbers are requested one by one, which a replay cannot answer.
        for is_numbered in ((True, False) if protocol == "tcp" else (True,))
    ]


def outcome_of(replay: Replay, recording: Recording, mutation: Mutation, timeout: float) -> str:
    replay.packets = mutation.packets
    started = time.monotonic()
    device = replay.device(recording.protocol)
    try:
        reading = read_terminal(device, comm_key=0, timeout=timeout, deadline=DEADLINE)
    except TerminalError as failure:
        return failure.code
    finally:
        assert time.monotonic() - started < DEADLINE + 1, "it hung"
    return verdict(reading, recording.terminal)


def run(replay: Replay, number: int) -> tuple[Mutation, str]:
    """One case: its reproducible mutation and its outcome."""
    chance = random.Random(f"{SEED}-{number}")
    recording = chance.choice(recordings())
    mutation = mutate(recording, chance)
    try:
        return mutation, outcome_of(replay, recording, mutation, TIMEOUT[recording.protocol])
    except Exception as error:
        raise AssertionError(f"{_case(number, mutation)} ended in {error!r}") from error


def _case(number: int, mutation: Mutation) -> str:
    return f"fuzz seed {SEED}, case {number} ({mutation.name})"


def run_many(numbers: range) -> Counter[str]:
    """Run cases and count their outcomes; fail with the number of the first wrong one."""
    outcomes: Counter[str] = Counter()
    with replaying() as replay:
        for number in numbers:
            mutation, outcome = run(replay, number)
            if outcome == WRONG and not mutation.apart:
                pytest.fail(f"{_case(number, mutation)} returned wrong data without an error or warning")
            outcomes[f"{mutation.apart}: {APART.get(outcome, 'named')}" if mutation.apart else outcome] += 1
    return outcomes


def test_recordings_that_nothing_happened_to_are_read_as_they_are() -> None:
    with replaying() as replay:
        for recording in recordings():
            assert outcome_of(replay, recording, unchanged(recording), 1.0) == RIGHT


@pytest.mark.parametrize(
    "first",
    [
        0,
        *(pytest.param(first, marks=pytest.mark.matrix) for first in range(CASES_AT_ONCE, 1_000, CASES_AT_ONCE)),
    ],
)
def test_mutated_answers_are_true_data_or_a_named_failure(first: int) -> None:
    _check(run_many(range(first, first + CASES_AT_ONCE)))


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(1_000, 101_000, 2_500))
def test_a_hundred_thousand_mutated_answers(first: int) -> None:
    recordings()
    before = _resident_bytes()
    _check(run_many(range(first, first + 2_500)))
    assert _resident_bytes() - before < GROWTH_BYTES


def _check(outcomes: Counter[str]) -> None:
    """The mutations are effective: most are detected, some have no effect."""
    sys.stdout.write(f"{dict(outcomes.most_common())}\n")  # pytest -rP shows it
    assert outcomes["protocol_violation"] > outcomes[RIGHT] > 0
    assert outcomes["incomplete_transfer"] > 0


def test_mutated_answers_take_little_memory() -> None:
    recordings()
    tracemalloc.start()
    try:
        run_many(range(30))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PEAK_BYTES


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif("REPRODUCE" not in os.environ, reason="for one case by its number")
def test_one_case_by_its_number() -> None:
    with replaying() as replay:
        mutation, outcome = run(replay, int(os.environ["REPRODUCE"]))
    assert outcome != WRONG or mutation.apart, _case(int(os.environ["REPRODUCE"]), mutation)
