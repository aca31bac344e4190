"""Error classes of terminals: stable codes, and messages with advice for the operator."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import ClassVar

from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError, ZkPipelineError


class TerminalError(ZkPipelineError):
    """An operation on one terminal failed. `code` is stable: stored with the poll, shown by CLI and API.

    The message names the device, its address, the operation, the problem and the advice; it never contains a comm key
    or personal data.
    """

    code: ClassVar[str]
    advice: str  # default of the class; an instance may have more specific advice

    def __init__(self, device: Device, attempted: str, problem: str, *, advice: str | None = None) -> None:
        if advice is not None:
            self.advice = advice
        host = f"[{device.ip_address}]" if ":" in device.ip_address else device.ip_address
        self.device_name = device.name
        self.address = f"{host}:{device.port}"
        self.attempted = attempted
        self.problem = problem
        super().__init__(f"{device.name} ({self.address}): {attempted} failed: {problem}. {self.advice}")


class OnlyPushes(UsageError):
    """A connection was requested to a device that is not polled: its terminal only pushes, or its punches are files."""

    def __init__(self, device: Device) -> None:
        way = "only pushes: its terminal connects to the receiver, and" if device.pushes else "is not polled:"
        super().__init__(
            f"{device.name} {way} nothing connects to it. If it can be reached, `zk-pipeline device update "
            f"{shlex.quote(device.name)} --ip ADDRESS --polled` makes it polled"
        )


def check_polled(devices: Iterable[Device]) -> None:
    """Raise OnlyPushes for the first device that polls must not connect to."""
    for one in devices:
        if not one.polled:
            raise OnlyPushes(one)


class Unreachable(TerminalError):
    """No host at that address can be reached."""

    code = "unreachable"
    advice = "Check the terminal's power and cable, its address, and the route to it."


class AddressNotAllowed(TerminalError):
    """The address of the device, or the one that its host name leads to, is outside DEVICE_NETWORKS."""

    code = "address_not_allowed"
    advice = "Correct it with `zk-pipeline device update NAME --ip ADDRESS`, or add its network to the setting."


class Refused(TerminalError):
    """The address answers, and rejects the connection."""

    code = "refused"
    advice = "Check the port, and that no other program has the terminal's only connection."


class NoAnswer(TerminalError):
    """The terminal did not answer within the timeout."""

    code = "no_answer"
    advice = "The terminal may be busy or frozen: try again, then restart it; ZKTECO_TIMEOUT sets the timeout."


class WrongCommKey(TerminalError):
    """The terminal requires another comm key."""

    code = "wrong_comm_key"
    advice = "Set the comm key of the terminal's menu in the variable that --comm-key-env names."


class UnsupportedCommand(TerminalError):
    """The firmware rejects a command that reading requires, also when it is repeated."""

    code = "refuses_protocol"
    advice = "Enable the PC connection in the terminal's menu, or ask its vendor for firmware with that protocol."


class TerminalBusy(TerminalError):
    """The terminal serves another client: it repeatedly rejects a session, or asks for a request to be repeated."""

    code = "terminal_busy"
    advice = (
        "It is busy, or the network to it corrupts requests: poll it again; if the error persists, restart the "
        "terminal."
    )


class LogRefused(TerminalError):
    """The terminal counts no records and refuses its log: there is no evidence that the log is empty."""

    code = "log_refused"
    advice = (
        "If there was no punch at it yet, the first punch ends this error. Otherwise its firmware does not offer the "
        "log over this protocol (known for SpeedFace-H5L): ask its vendor for other firmware."
    )


class ProtocolViolation(TerminalError):
    """The answer violates the protocol: none of it is used."""

    code = "protocol_violation"
    advice = "Try again; if the error persists, check that the address is a ZKTeco terminal, and the network between."


class DeadlineExceeded(TerminalError):
    """The whole poll took longer than its deadline."""

    code = "deadline_exceeded"
    advice = "The terminal or the network to it is slow: ZKTECO_POLL_DEADLINE sets the longest time of one poll."


class IncompleteTransfer(TerminalError):
    """Not all announced data arrived: none of it is used."""

    code = "incomplete_transfer"
    advice = "Nothing was stored; the next poll reads it again."


class LayoutUnknown(TerminalError):
    """A log gives no evidence of its record layout: none of it is used."""

    code = "layout_unknown"
    advice = (
        "If the terminal's clock is wrong or was reset, set it with `zk-pipeline device set-clock NAME`, punch three "
        "times and poll again: records of a right clock reveal the layout. Otherwise its firmware is not supported."
    )


class UserListUnreadable(TerminalError):
    """A user list has the right size and implausible entries: none of it is used."""

    code = "user_list_unreadable"
    advice = "Users known from earlier readings stay; `zk-pipeline poll NAME --full` reads the list again."


class ClockInvalid(TerminalError):
    """The terminal's clock shows an impossible date, or does not accept the date that is set."""

    code = "clock_invalid"
    advice = "Set the date and time in the terminal's menu; if they are lost again, replace the battery."


class SerialChanged(TerminalError):
    """A terminal with another serial number than the registered one answers at the address."""

    code = "serial_changed"
    advice = (
        "If it was replaced on purpose, confirm it with `zk-pipeline device update NAME --accept-new-serial`; "
        "otherwise check the address."
    )


class SerialUnverified(TerminalError):
    """The terminal reports no serial number although one is registered: it may be another terminal."""

    code = "serial_unverified"
    advice = (
        "Poll it again. If the error persists, check which terminal has this address; if it was replaced by one that "
        "reports no serial number, confirm it with `zk-pipeline device update NAME --accept-new-serial`."
    )


class Busy(TerminalError):
    """Another process or thread has the terminal's only connection."""

    code = "busy"
    advice = "Wait for the other poll or command to end; a terminal serves one connection at a time."


class DeviceLeftDisabled(TerminalError):
    """The keypad was locked, for a reading or to clear the log, and could not be unlocked."""

    code = "still_disabled"
    advice = (
        "It may accept no punches: each contact with it (a poll, `zk-pipeline test-device NAME`) tries to unlock it "
        "again, and restarting the terminal unlocks it, too."
    )


class NotCleared(TerminalError):
    """The log was not cleared: not every record is verified as stored, or the terminal did not clear it."""

    code = "not_cleared"
    advice = "Poll the terminal, check what is missing, and try again."
