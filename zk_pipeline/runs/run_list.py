"""State of runs, filters and pages of their list; without Dagster, which is slow to import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

BACKFILL, COMMAND, API, UI = "backfill", "command", "api", "ui"
TRIGGERS = (BACKFILL, COMMAND, API, UI)  # in addition to the names of schedules and sensors


@dataclass(frozen=True)
class RunState:
    """State of one run. `status` is Dagster's run status, such as STARTED, SUCCESS or FAILURE; instants are UTC."""

    run_id: str
    job_name: str
    status: str
    started_by: str | None
    action: str | None  # id of the first run of its action
    started_at: datetime | None
    finished_at: datetime | None
    trigger: str = UI  # name of a schedule or sensor, or one of TRIGGERS
    backfill: str | None = None  # its id
    created_at: datetime | None = None
    requested_by: str | None = None  # name of the API token


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Filter of runs; None takes all. `state`: queued, in_progress, done, failed or canceled; `trigger` as in RunState.

    `since` and `until` (exclusive) bound the creation (instants).
    """

    job: str | None = None
    state: str | None = None
    trigger: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class RunPage:
    """Runs, newest first. `cursor`: where the next page begins, None after the oldest run. `is_cut`: the search ended
    after MAX_SEARCHED runs.
    """

    runs: list[RunState]
    cursor: str | None
    is_cut: bool
