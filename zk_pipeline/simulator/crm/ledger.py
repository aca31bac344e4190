"""Ledger of the emulated CRM: applied revisions per user and date, attempts per idempotency key, anomalies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum, StrEnum
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import BinaryIO

Record = dict[str, object]  # one attendance day as in the request
Day = tuple[str, date]  # user id, work date; the site is in the request only for records per site


class AnomalyKind(StrEnum):
    """Violation of the delivery guarantees by the sender; the value explains it."""

    OUT_OF_ORDER = "an older revision was applied after a newer one"
    APPLIED_TWICE = "a revision was applied again under another key"
    KEY_REUSED = "a key was used again with another body; the request was refused"


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    kind: AnomalyKind
    user_id: str
    work_date: date
    revision: int
    key: str


@dataclass(frozen=True, kw_only=True)
class AppliedRecord:
    """One revision of one attendance day, applied once under its key."""

    key: str
    digest: str
    record: Record

    @property
    def user_id(self) -> str:
        return str(self.record["user_id"])

    @property
    def work_date(self) -> date:
        return date.fromisoformat(str(self.record["date"]))

    @property
    def site(self) -> str:
        """The site of a record per site, otherwise empty."""
        return str(self.record.get("site", ""))

    @property
    def revision(self) -> int:
        return int(str(self.record["revision"]))


class KeyState(Enum):
    """State of an idempotency key when a request arrives."""

    NEW = "not used before; it is now in progress"
    IN_PROGRESS = "another request with it has not ended"
    APPLIED = "its record was applied before"
    OTHER_BODY = "it was used for another record"


class CrmLedger:
    """Applied records in order, thread-safe. With a path they are persisted.

    Each is one JSON line, written and flushed before `commit` returns; an incomplete last line, left by a kill, is
    dropped. Raises ValueError if the file is damaged elsewhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = Lock()
        self._applied: dict[str, AppliedRecord] = {}
        self._by_day: dict[tuple[str, Day], list[AppliedRecord]] = {}
        self._attempts: Counter[str] = Counter()
        self._anomalies: list[Anomaly] = []
        self._in_progress: set[str] = set()
        self._file: BinaryIO | None = None
        if path is not None:
            self._load(path)
            self._file = path.open("ab")

    @property
    def attempts(self) -> Mapping[str, int]:
        """Requests per key since this ledger was opened."""
        with self._lock:
            return dict(self._attempts)

    @property
    def anomalies(self) -> list[Anomaly]:
        with self._lock:
            return list(self._anomalies)

    def latest(self, site: str = "") -> dict[Day, Record]:
        """The record applied last to each day, as in a CRM that overwrites; for one `site` if records name one."""
        with self._lock:
            return {day: applied[-1].record for (at_site, day), applied in self._by_day.items() if at_site == site}

    def __len__(self) -> int:
        """Number of days in the ledger; days of records per site are counted per site."""
        with self._lock:
            return len(self._by_day)

    def revisions(self, user_id: str, work_date: date, site: str = "") -> list[int]:
        """The revisions of one day in the order of their application."""
        with self._lock:
            return [a.revision for a in self._by_day.get((site, (user_id, work_date)), [])]

    def begin(self, key: str, record: Record) -> KeyState:
        """Count an attempt. After NEW the caller must call `commit` or `abandon`."""
        with self._lock:
            self._attempts[key] += 1
            if key in self._in_progress:
                return KeyState.IN_PROGRESS
            applied = self._applied.get(key)
            if applied is None:
                self._in_progress.add(key)
                return KeyState.NEW
            if applied.digest == _digest(record):
                return KeyState.APPLIED
            self._note(AnomalyKind.KEY_REUSED, AppliedRecord(key=key, digest="", record=record))
            return KeyState.OTHER_BODY

    def commit(self, key: str, record: Record) -> None:
        """Apply a record whose key is in progress."""
        application = AppliedRecord(key=key, digest=_digest(record), record=record)
        with self._lock:
            self._in_progress.discard(key)  # also if the write fails
            if self._file is not None:
                self._file.write(json.dumps({"key": key, "record": record}).encode() + b"\n")
                self._file.flush()
            self._add(application)

    def abandon(self, key: str) -> None:
        """Discard a key in progress: its record was refused."""
        with self._lock:
            self._in_progress.discard(key)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _add(self, application: AppliedRecord) -> None:
        day = (application.site, (application.user_id, application.work_date))
        before = self._by_day.setdefault(day, [])
        if any(a.revision == application.revision for a in before):
            self._note(AnomalyKind.APPLIED_TWICE, application)
        elif any(a.revision > application.revision for a in before):
            self._note(AnomalyKind.OUT_OF_ORDER, application)
        before.append(application)
        self._applied[application.key] = application

    def _note(self, kind: AnomalyKind, application: AppliedRecord) -> None:
        self._anomalies.append(
            Anomaly(
                kind=kind,
                user_id=application.user_id,
                work_date=application.work_date,
                revision=application.revision,
                key=application.key,
            )
        )

    def _load(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        content = path.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]  # an incomplete last line was never acknowledged
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                entry = json.loads(line)
                record = entry["record"]
                self._add(AppliedRecord(key=entry["key"], digest=_digest(record), record=record))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"the CRM ledger {path} is damaged at line {number}") from error
        if len(complete) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(complete))


def _digest(record: Record) -> str:
    return sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
