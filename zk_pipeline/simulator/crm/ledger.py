"""What the CRM receiver has applied: each day's revisions in order, each key's attempts, and what went wrong.

The server that fills it is `receiver`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import BinaryIO

Record = dict[str, object]  # one day as the request carried it
Day = tuple[str, date]  # user id, work date: the contract's request names no site, unless it is of one


class AnomalyKind(str, Enum):
    """What a sender that keeps its promises never causes; the value explains it."""

    OUT_OF_ORDER = "an older revision was applied after a newer one"
    APPLIED_TWICE = "a revision was applied again under another key"
    KEY_REUSED = "a key came back with another body; it was refused"


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    kind: AnomalyKind
    user_id: str
    work_date: date
    revision: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Application:
    """One revision of one day, applied once under its key."""

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
        """Empty in a record of the person's date, whatever the sites."""
        return str(self.record.get("site", ""))

    @property
    def revision(self) -> int:
        return int(str(self.record["revision"]))


class Standing(Enum):
    """How a key stands when a request brings it."""

    NEW = "nobody has used it; it is now in progress"
    IN_PROGRESS = "another request with it has not ended"
    APPLIED = "its record was applied before"
    OTHER_BODY = "it was used for another record"


class CrmLedger:
    """Applications in order, thread-safe. With a path they outlive the process.

    Each is one JSON line, written and flushed before `commit` returns; a last line torn by a kill is dropped.

    Raises ValueError on a file that is damaged elsewhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = Lock()
        self._applied: dict[str, Application] = {}
        self._by_day: dict[tuple[str, Day], list[Application]] = {}
        self._attempts: Counter[str] = Counter()
        self._anomalies: list[Anomaly] = []
        self._in_progress: set[str] = set()
        self._file: BinaryIO | None = None
        if path is not None:
            self._load(path)
            self._file = path.open("ab")

    @property
    def attempts(self) -> Mapping[str, int]:
        """Requests seen per key since this ledger was opened."""
        with self._lock:
            return dict(self._attempts)

    @property
    def anomalies(self) -> list[Anomaly]:
        with self._lock:
            return list(self._anomalies)

    def latest(self, site: str = "") -> dict[Day, Record]:
        """The record applied last to each day, which is what a CRM that overwrites would hold; of a site, where records
        name one.
        """
        with self._lock:
            return {day: applied[-1].record for (place, day), applied in self._by_day.items() if place == site}

    def __len__(self) -> int:
        """Number of days in the ledger; days of records that name a site are counted per site."""
        with self._lock:
            return len(self._by_day)

    def revisions(self, user_id: str, work_date: date, site: str = "") -> list[int]:
        """The revisions of one day in the order they were applied."""
        with self._lock:
            return [a.revision for a in self._by_day.get((site, (user_id, work_date)), [])]

    def begin(self, key: str, record: Record) -> Standing:
        """Count an attempt. After NEW the caller must end with `commit` or `abandon`."""
        with self._lock:
            self._attempts[key] += 1
            if key in self._in_progress:
                return Standing.IN_PROGRESS
            known = self._applied.get(key)
            if known is None:
                self._in_progress.add(key)
                return Standing.NEW
            if known.digest == _digest(record):
                return Standing.APPLIED
            self._note(AnomalyKind.KEY_REUSED, Application(key=key, digest="", record=record))
            return Standing.OTHER_BODY

    def commit(self, key: str, record: Record) -> None:
        """Apply a record whose key is in progress."""
        application = Application(key=key, digest=_digest(record), record=record)
        with self._lock:
            self._in_progress.discard(key)  # whether or not it can be written
            if self._file is not None:
                self._file.write(json.dumps({"key": key, "record": record}).encode() + b"\n")
                self._file.flush()
            self._add(application)

    def abandon(self, key: str) -> None:
        """Forget a key in progress: its record was refused."""
        with self._lock:
            self._in_progress.discard(key)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _add(self, application: Application) -> None:
        day = (application.site, (application.user_id, application.work_date))
        before = self._by_day.setdefault(day, [])
        if any(a.revision == application.revision for a in before):
            self._note(AnomalyKind.APPLIED_TWICE, application)
        elif any(a.revision > application.revision for a in before):
            self._note(AnomalyKind.OUT_OF_ORDER, application)
        before.append(application)
        self._applied[application.key] = application

    def _note(self, kind: AnomalyKind, application: Application) -> None:
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
        whole = path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]  # what follows the last line end was never answered for
        for number, line in enumerate(kept.splitlines(), start=1):
            try:
                entry = json.loads(line)
                record = entry["record"]
                self._add(Application(key=entry["key"], digest=_digest(record), record=record))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"the CRM ledger {path} is damaged at line {number}") from error
        if len(kept) < len(whole):
            with path.open("r+b") as file:
                file.truncate(len(kept))


def _digest(record: Record) -> str:
    return sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
