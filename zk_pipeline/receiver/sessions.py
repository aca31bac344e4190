"""State of an adopted terminal in this process, beyond the store: its family, its contact, its clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from zk_pipeline.devices.push.families import Family, family_of, observe
from zk_pipeline.devices.push.hello import POLL_SECONDS
from zk_pipeline.devices.push.records import ParsedUpload, PushedPunch
from zk_pipeline.devices.push.requests import PushRequest
from zk_pipeline.store.push.terminals import PushTerminal
from zk_pipeline.store.push.uploads import RESENT
from zk_pipeline.time_text import in_zone

MAX_PAUSE = timedelta(seconds=3 * POLL_SECONDS + 15)  # between two requests of a connected terminal
MAX_CHANGE_SECONDS = 5.0  # of a clock drift that is not recorded again yet
CONTACT_MARGIN = timedelta(seconds=60)  # of a contact that is longer than the delay of a punch: its clock may be ahead
DRIFT_INTERVAL = timedelta(minutes=10)
REALTIME_TABLES = ("ATTLOG", "RTLOG")


@dataclass
class Session:
    """One adopted terminal. `connected_since`: start of the uninterrupted contact in which it uploads punches as they
    are recorded. `offset_seconds`: UTC offset in the last answer by which the terminal set its clock.
    """

    family: Family
    seen_at: datetime
    connected_since: datetime
    offset_seconds: int | None
    is_registered: bool
    drift_seconds: float | None = None
    drift_at: datetime | None = None
    _last_punch: PushedPunch | None = None

    @classmethod
    def of(cls, terminal: PushTerminal, now: datetime) -> Session:
        return cls(terminal.family or "A", now, now, terminal.hello_offset_seconds, terminal.family == "C")

    def observe(self, request: PushRequest, now: datetime) -> None:
        """Note a request of the terminal."""
        if now - self.seen_at > MAX_PAUSE:
            self.connected_since = now
        self.seen_at = now
        found = observe(request)
        if found:
            self.family = family_of(found, known=self.family)
            self.is_registered = self.is_registered or "access_request" in found

    def interrupt(self, now: datetime) -> None:
        """Note that the terminal has, or may have, punches that it could not upload: they will arrive late."""
        self.connected_since = now

    def measure_drift(
        self, table: str, stamp: str | None, parsed: ParsedUpload, *, zone: str, now: datetime
    ) -> float | None:
        """Clock of the terminal minus true time in seconds, where the arrival of a punch shows it and a record is due.

        Only a punch alone in its upload was recorded just now, and a late one proves nothing unless the terminal was
        connected since before the recorded time: then it would have arrived at that time. A punch of the future always
        proves a clock that is ahead.
        """
        if parsed.lines > 1:
            self.interrupt(now)
        if table not in REALTIME_TABLES or stamp == RESENT or parsed.lines != 1 or len(parsed.punches) != 1:
            return None
        punch = parsed.punches[0]
        is_repeated, self._last_punch = punch == self._last_punch, punch
        drift = (punch.punched_at_local - _wall_clock(punch, zone, now)).total_seconds()
        if is_repeated or (drift < 0 and now - self.connected_since <= timedelta(seconds=-drift) + CONTACT_MARGIN):
            return None
        return drift if self._is_due(drift, now) else None

    def record_drift(self, drift: float | None, now: datetime) -> None:
        """Note that the drift was stored."""
        if drift is not None:
            self.drift_seconds, self.drift_at = drift, now

    def _is_due(self, drift: float, now: datetime) -> bool:
        if self.drift_seconds is None or self.drift_at is None:
            return True
        return abs(drift - self.drift_seconds) > MAX_CHANGE_SECONDS or now - self.drift_at > DRIFT_INTERVAL


def _wall_clock(punch: PushedPunch, zone: str, now: datetime) -> datetime:
    if punch.utc_offset_seconds is None:
        return in_zone(now, zone)
    return now.astimezone(UTC).replace(tzinfo=None) + timedelta(seconds=punch.utc_offset_seconds)
