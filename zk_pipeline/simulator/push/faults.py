"""Injected faults of an emulated pushing terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zk_pipeline.simulator.push.wire import Delivery

Separator = Literal["tab", "space", "pairs"]


@dataclass(kw_only=True)
class PushFaults:
    """Faults of one terminal; may be changed between two steps. Without arguments: none.

    Numbers count down with each affected upload.

    - `lost_answers`: the receiver's answer does not arrive, though it was sent.
    - `unread_answers`: the terminal closes the connection as soon as the request is sent.
    - `half_bodies`: the connection closes within the body.
    - `repeats`: times that each upload is sent, although acknowledged.
    - `hellos`: times that each hello is sent.
    - `http_version`, `bytes_per_second`: of every request; see `Delivery`.
    - `suffix`: end of each path, `.aspx` of eSSL firmware. `has_lower_case_names`: parameter names such as `sn`.
    - `serial_number`: serial number of another terminal, in every request.
    - `stamp`: constant stamp of every upload, such as `9999` or `None`.
    - `line_end`, `separator`: of punch lines; "pairs" writes `PIN=…\\tDateTime=…`.
    - `broken_lines`: further lines at the end of each batch of punches.
    - `has_empty_offset`: the UTC offset of a punch line is an empty field, of firmware that has the field.
    - `has_nul`: each punch line ends with a NUL.
    - `confirms_commands`: False for firmware that reports no result of a command.
    - `registers_late`: security terminals send events before they register.
    """

    lost_answers: int = 0
    unread_answers: int = 0
    half_bodies: int = 0
    repeats: int = 1
    hellos: int = 1
    http_version: Literal["1.0", "1.1"] = "1.1"
    bytes_per_second: float | None = None
    suffix: str = ""
    has_lower_case_names: bool = False
    serial_number: str = ""
    stamp: str = ""
    line_end: bytes = b"\n"
    separator: Separator = "tab"
    broken_lines: tuple[bytes, ...] = ()
    has_empty_offset: bool = False
    has_nul: bool = False
    confirms_commands: bool = True
    registers_late: bool = False

    def delivery(self, *, is_upload: bool) -> Delivery:
        """Transmission of the next request; counts down the faults of uploads."""
        speed, version = self.bytes_per_second, self.http_version
        if is_upload and self.lost_answers > 0:
            self.lost_answers -= 1
            return Delivery(http_version=version, bytes_per_second=speed, answer="lost")
        if is_upload and self.unread_answers > 0:
            self.unread_answers -= 1
            return Delivery(http_version=version, bytes_per_second=speed, answer="unread")
        if is_upload and self.half_bodies > 0:
            self.half_bodies -= 1
            return Delivery(http_version=version, bytes_per_second=speed, body_share=0.5)
        return Delivery(http_version=version, bytes_per_second=speed)
