"""How assets, CLI and API reach terminals: settings bound to the functions of `session`. No protocol here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock
from zk_pipeline.devices.models import Device, Reading, TerminalInfo
from zk_pipeline.devices.session import ClockChange, probe_terminal, read_terminal, read_users, set_clock
from zk_pipeline.errors import UsageError

MAX_COMM_KEY = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class TerminalGateway:
    """Reaches terminals within limits, in seconds: `timeout` for one answer, `deadline` for one device.

    Every method raises TerminalError for what went wrong with the terminal and UsageError for a comm key that
    is not set right. Safe to use from several threads at once; use it for one connection per terminal at a
    time.
    """

    timeout: float
    deadline: float
    comm_keys: Callable[[Device], int]
    clock: Clock = SYSTEM_CLOCK

    def read(self, device: Device) -> Reading:
        """Everything the terminal holds, see `read_terminal`."""
        return read_terminal(
            device,
            comm_key=self.comm_keys(device),
            timeout=self.timeout,
            deadline=self.deadline,
            clock=self.clock,
        )

    def probe(self, device: Device) -> TerminalInfo:
        """What the terminal says of itself, see `probe_terminal`."""
        return probe_terminal(
            device,
            comm_key=self.comm_keys(device),
            timeout=self.timeout,
            deadline=self.deadline,
            clock=self.clock,
        )

    def users(self, device: Device) -> pd.DataFrame:
        """The terminal's user list, see `read_users`."""
        return read_users(
            device,
            comm_key=self.comm_keys(device),
            timeout=self.timeout,
            deadline=self.deadline,
            clock=self.clock,
        )

    def set_clock(self, device: Device) -> ClockChange:
        """Set the terminal's clock to the true time, see `set_clock`."""
        return set_clock(
            device,
            comm_key=self.comm_keys(device),
            timeout=self.timeout,
            deadline=self.deadline,
            clock=self.clock,
        )


def comm_keys_from(environ: Mapping[str, str]) -> Callable[[Device], int]:
    """A source of comm keys: the variables in `environ` that devices name; 0 where one names none.

    It raises UsageError, naming the variable and never its value, when that is not set or is no number from 0
    to 2**32 - 1.
    """
    return partial(_comm_key, environ)


def _comm_key(environ: Mapping[str, str], device: Device) -> int:
    variable = device.comm_key_env
    if variable is None:
        return 0
    value = environ.get(variable, "").strip()
    if not value:
        raise UsageError(f"comm key of {device.name}: the variable {variable} is not set")
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= MAX_COMM_KEY):
        raise UsageError(f"comm key of {device.name}: the variable {variable} is not a number from 0 to {MAX_COMM_KEY}")
    return int(value)
