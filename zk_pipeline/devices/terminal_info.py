"""Terminal info, user list and clock of one terminal, each in one session. The log is read in `reading`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock
from zk_pipeline.devices.errors import ClockInvalid, SerialChanged, SerialUnverified
from zk_pipeline.devices.models import Device, TerminalInfo
from zk_pipeline.devices.protocol.client import ClockReading, TerminalClient
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.protocol.record_layouts import FIRST_YEAR, LAST_YEAR
from zk_pipeline.devices.protocol.tables import fetch_users
from zk_pipeline.time_text import in_zone, wall_clock

SET_CLOCK_TOLERANCE_SECONDS = 2.0  # the terminal counts whole seconds


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """Readings of a terminal's clock before and after it was set; drift as in TerminalInfo."""

    before: ClockReading
    after: ClockReading
    drift_before_seconds: float | None
    drift_after_seconds: float


def probe_terminal(
    device: Device, *, comm_key: int, timeout: float, deadline: float, clock: Clock = SYSTEM_CLOCK
) -> TerminalInfo:
    """Terminal info, without a check of the serial number. Raises TerminalError."""
    with _session(device, comm_key, timeout=timeout, deadline=deadline, clock=clock) as client:
        return read_terminal_info(client)


def read_users(
    device: Device, *, comm_key: int, timeout: float, deadline: float, clock: Clock = SYSTEM_CLOCK
) -> pd.DataFrame:
    """The terminal's user list (columns USER_COLUMNS), without passwords and templates.

    Raises TerminalError; SerialChanged and SerialUnverified as `check_serial` does.
    """
    with _session(device, comm_key, timeout=timeout, deadline=deadline, clock=clock) as client:
        verify_serial(client)
        return fetch_users(client, client.counters())


def set_clock(
    device: Device, *, comm_key: int, timeout: float, deadline: float, clock: Clock = SYSTEM_CLOCK
) -> ClockChange:
    """Set the terminal's clock to the true time in `device.timezone`, and read it back.

    The time is taken when the request is sent, with half the round trip added, so that a slow connection does not make
    it late. Raises ClockInvalid if the terminal shows another time afterwards, SerialChanged and SerialUnverified as
    `check_serial` does.
    """
    with _session(device, comm_key, timeout=timeout, deadline=deadline, clock=clock) as client:
        verify_serial(client)
        before = client.read_clock()
        arrives_at = clock.now() + timedelta(seconds=before.round_trip_seconds / 2)
        true_local = in_zone(arrives_at, device.timezone)
        if not FIRST_YEAR <= true_local.year <= LAST_YEAR:
            client.transport.fail(ClockInvalid, f"this computer's own clock shows {true_local:%Y-%m-%d}")
        client.write_clock((true_local + timedelta(milliseconds=500)).replace(microsecond=0))
        after = client.read_clock()
        drift = clock_drift(after, device.timezone)
        if drift is None or abs(drift) > SET_CLOCK_TOLERANCE_SECONDS:
            shown = "an impossible date" if after.clock_local is None else wall_clock(after.clock_local)
            client.transport.fail(ClockInvalid, f"it shows {shown} after being set to {wall_clock(true_local)}")
        return ClockChange(
            before=before,
            after=after,
            drift_before_seconds=clock_drift(before, device.timezone),
            drift_after_seconds=drift,
        )


def _session(
    device: Device, comm_key: int, *, timeout: float, deadline: float, clock: Clock
) -> AbstractContextManager[TerminalClient]:
    return Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock).session()


def clock_drift(reading: ClockReading, timezone_name: str) -> float | None:
    """Seconds by which the terminal's clock is ahead of the true time; None if it shows an impossible date.

    In an hour that the time zone repeats, the nearer of the two possible instants is used.
    """
    if reading.clock_local is None:
        return None
    zone = ZoneInfo(timezone_name)
    instants = [reading.clock_local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return min(((instant - reading.read_at).total_seconds() for instant in instants), key=abs)


def read_terminal_info(client: TerminalClient) -> TerminalInfo:
    """Read identity, versions, counters and clock in an open session. Raises TerminalError."""
    clock = client.read_clock()
    counters = client.counters()
    return TerminalInfo(
        serial_number=_serial_number(client),
        firmware_version=client.firmware_version(),
        platform=client.option("~Platform"),
        device_name=client.option("~DeviceName"),
        mac=client.option("MAC"),
        user_count=counters.users,
        user_capacity=counters.user_capacity,
        record_count=counters.records,
        record_capacity=counters.record_capacity,
        clock_local=clock.clock_local,
        clock_drift_seconds=clock_drift(clock, client.transport.device.timezone),
        round_trip_ms=clock.round_trip_seconds * 1000,
        transport=client.transport.kind,
    )


def check_serial(client: TerminalClient, info: TerminalInfo) -> None:
    """Compare the serial number in `info` with the registered one.

    Raises SerialChanged if they differ, SerialUnverified if the terminal reports none although one is registered.
    """
    _check_serial(client, info.serial_number)


def verify_serial(client: TerminalClient) -> None:
    """The same, with a request to the terminal; no request if no serial number is registered."""
    if client.transport.device.serial_number:
        _check_serial(client, _serial_number(client))


def _check_serial(client: TerminalClient, answered: str) -> None:
    registered = client.transport.device.serial_number
    if not registered or registered == answered:
        return
    client.transport.operation = "checking the serial number"
    if not answered:
        problem = f"{registered} is registered, and the terminal reports no serial number"
        client.transport.fail(SerialUnverified, problem)
    client.transport.fail(SerialChanged, f"{answered} answers where {registered} is registered")


def _serial_number(client: TerminalClient) -> str:
    """The serial number, "" if the terminal reports none; repeated if one is registered."""
    answered = client.option("~SerialNumber")
    if not answered and client.transport.device.serial_number:
        for _ in client.retry_pauses():
            answered = client.option("~SerialNumber")
            if answered:
                break
    return answered
