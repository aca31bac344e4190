"""Outcomes of the fault matrix: right data, right data with a warning, a named failure, or silently wrong data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.models import Device, LogPosition, Protocol, Reading
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline_tests.devices.matrix.matrix_terminals import NAME, UIDS, USERS, ZONE, MatrixTerminal, Row, rows_of

RIGHT = "right data"
WAITING = "right, waiting for a user list"
UNLISTED = "right, with a warning that the user list could not be read"
UNCOUNTED = "as sent, with a warning that the counter contradicts it"
WRONG = "silently wrong"
OUTCOME = "fault matrix"  # test property with one of these outcomes, or the code of an error
CPU_SECONDS = 3.0  # generous for a reading of at most 70 kB, three attempts, on a loaded machine; excludes a busy loop
GRACE_SECONDS = 1.5


@dataclass(frozen=True)
class Timing:
    """Possible outcomes of a case with a race; `why` explains it."""

    either: tuple[str, str]
    why: str


HASTY = Clock(sleep=lambda _: None)  # retries without pauses
PATIENT = 1.0  # timeout in seconds where an answer arrives in the end
BRIEF = 0.1  # timeout where none arrives


@contextmanager
def switched_on(terminal: MatrixTerminal, faults: Faults | None, protocol: Protocol) -> Iterator[tuple[Fleet, Device]]:
    with Fleet.serve([terminal], faults={NAME: faults} if faults else None) as fleet:
        yield (
            fleet,
            Device(name=NAME, ip_address="127.0.0.1", port=fleet.port_of(NAME), protocol=protocol, timezone=ZONE),
        )


def read(
    device: Device,
    *,
    timeout: float = PATIENT,
    deadline: float = 15.0,
    comm_key: int = 0,
    position: LogPosition | None = None,
) -> Reading:
    """One reading, checked against its deadline and a limit of CPU time."""
    started, cpu_started = time.monotonic(), time.thread_time()
    try:
        return read_terminal(
            device, comm_key=comm_key, timeout=timeout, deadline=deadline, position=position, clock=HASTY
        )
    finally:
        assert time.monotonic() - started < deadline + GRACE_SECONDS, "it took longer than its deadline"
        assert time.thread_time() - cpu_started < CPU_SECONDS, "it kept the processor busy"


@dataclass(frozen=True)
class Known:
    """Result of an earlier reading: the terminal's true log, and the position for the next reading."""

    log: bytes
    position: LogPosition


def known_from(reading: Reading, terminal: MatrixTerminal) -> Known:
    """The same, for a reading that must be RIGHT."""
    assert verdict(reading, terminal) == RIGHT
    assert reading.position is not None
    return Known(terminal.served[-1], reading.position)


def outcome_of(
    terminal: MatrixTerminal,
    device: Device,
    *,
    timeout: float = PATIENT,
    deadline: float = 15.0,
    comm_key: int = 0,
    known: Known | None = None,
) -> str:
    """RIGHT, WAITING, WRONG, or the code of the error. Any other exception fails the test."""
    position = known.position if known else None
    try:
        reading = read(device, timeout=timeout, deadline=deadline, comm_key=comm_key, position=position)
    except TerminalError as failure:
        return failure.code
    return verdict(reading, terminal, known)


def outcome_under(
    faults: Faults | None,
    terminal: MatrixTerminal,
    protocol: Protocol,
    *,
    timeout: float = PATIENT,
    deadline: float = 15.0,
) -> str:
    """Outcome of one reading of the terminal with these faults."""
    with switched_on(terminal, faults, protocol) as (_, device):
        return outcome_of(terminal, device, timeout=timeout, deadline=deadline)


def verdict(reading: Reading, terminal: MatrixTerminal, known: Known | None = None) -> str:
    """Whether a reading equals, unaltered and in order, the terminal's log at its last request.

    After an earlier reading: whether both together do.
    """
    if not _is_right(reading, terminal, known):
        return WRONG
    if is_uncounted(reading):
        return UNCOUNTED
    if reading.users is None and terminal.shape.base == 8 and not reading.punches.empty:
        return WAITING
    return UNLISTED if reading.warnings else RIGHT


def is_uncounted(reading: Reading) -> bool:
    return any("its log has" in warning for warning in reading.warnings)


def _is_right(reading: Reading, terminal: MatrixTerminal, known: Known | None) -> bool:
    if not _has_true_users(reading):
        return False
    size = terminal.shape.size
    if reading.mode == "unchanged":
        assert known is not None
        is_so = terminal.log_on_the_wire().startswith(known.log) and reading.info.record_count * size == len(known.log)
        return is_so and reading.punches.empty and reading.rejected.empty
    log, brought_before = terminal.served[-1], 0
    if is_uncounted(reading):
        log = terminal.alter(log)
    if reading.mode == "incremental":
        if known is None or not log.startswith(known.log):
            return False
        brought_before = len(known.log) // size
    rows = rows_of(log, terminal.shape)
    new = list(enumerate(rows))[brought_before:]
    punches = [row for _, row in new if row is not None]
    set_aside = [(index, log[index * size : (index + 1) * size]) for index, row in new if row is None]
    rejected = list(zip(reading.rejected["record_index"].tolist(), reading.rejected["raw"], strict=True))
    return (_punches(reading), rejected) == (punches, set_aside)


def _punches(reading: Reading) -> list[Row]:
    punches = reading.punches
    named = punches.assign(user_id=punches["user_id"].where(punches["uid"].isna(), punches["uid"].map(UIDS)))
    moments = named["punched_at_local"].astype(object)
    return list(zip(named["user_id"], moments, named["verify_type"], named["punch_state"], strict=True))


def _has_true_users(reading: Reading) -> bool:
    if reading.users is None:
        return True
    read_users = list(reading.users[["uid", "user_id"]].itertuples(index=False, name=None))
    return read_users == [(user.uid, user.user_id) for user in USERS]
