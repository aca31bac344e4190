"""Definition of an emulated terminal: model, options, record layout, enrolled users. Immutable and serialisable."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from zk_pipeline.simulator.terminal.records import Layout, TerminalUser, UserRecordSize, check_user_id


def serial_number_of(name: str) -> str:
    """Default serial number, derived from the terminal's name."""
    return f"CEXA{zlib.crc32(name.encode()) % 10**9:09}"


@dataclass(frozen=True, kw_only=True)
class TerminalDefinition:
    """A terminal without punches. A comm key of 0 means none. `pushes`: it connects to a receiver and is not polled."""

    name: str
    site: str = ""
    timezone: str = "UTC"
    layout: Layout = 40
    is_ma300: bool = False  # 8-byte records in the order of MA300 and ZEM500
    users: tuple[TerminalUser, ...] = field(default=(), repr=False)
    user_record_size: UserRecordSize = 72
    events_name_uids: bool = False  # live events have the uid, as from some firmware with 8-byte records
    clock_offset_seconds: int = 0
    comm_key: int = 0
    serial_number: str = ""  # default: see `serial_number_of`
    firmware: str = "Ver 6.60 Apr 28 2017"
    platform: str = "ZEM560_TFT"
    device_name: str = "F18"
    mac: str = "00:17:61:10:00:01"
    encoding: str = "utf-8"
    record_capacity: int = 100_000
    user_capacity: int = 5_000
    finger_capacity: int = 3_000
    pushes: bool = False

    def __post_init__(self) -> None:
        if not self.serial_number:
            object.__setattr__(self, "serial_number", serial_number_of(self.name))
        if not 0 <= self.comm_key < 2**32:
            raise ValueError(f"terminal {self.name!r}: a comm key has 32 bits")
        if self.is_ma300 and self.layout != 8:
            raise ValueError(f"terminal {self.name!r}: records in the order of MA300 have 8 bytes")
        for user in self.users:
            check_user_id(user.user_id, self.layout)
            check_user_id(user.user_id, 16 if self.user_record_size == 28 else 40)
            if not 0 < user.uid < 2**16:
                raise ValueError(f"terminal {self.name!r}: uid {user.uid} is not between 1 and 65535")
        for ids in ({user.uid for user in self.users}, {user.user_id for user in self.users}):
            if len(ids) < len(self.users):
                raise ValueError(f"terminal {self.name!r}: two users share an id")

    @property
    def pin_width(self) -> int:
        """Maximum length of a user id in characters."""
        return 9 if self.user_record_size == 28 else 23

    def factory_options(self) -> dict[str, str]:
        """Options of a new terminal by name, for CMD_OPTIONS_RRQ."""
        return {
            "~SerialNumber": self.serial_number,
            "~Platform": self.platform,
            "~DeviceName": self.device_name,
            "~ZKFPVersion": "10",
            "~OEMVendor": "ZKTeco Inc.",
            "~PIN2Width": str(self.pin_width),
            "ZKFaceVersion": "0",
            "FaceFunOn": "0",
            "CompatOldFirmware": "0",
            "MAC": self.mac,
            "IPAddress": "127.0.0.1",
            "NetMask": "255.255.255.0",
            "GATEIPAddress": "127.0.0.1",
            "SDKBuild": "0",
        }
