"""Daemon heartbeats, schedules, sensors and runs from Dagster's SQLite files, without Dagster.

Importing Dagster takes 0.6 s of CPU, half of what `zk-pipeline status` took, and its public API begins with it. So the
tables are read in this module alone, read-only, and only where their form is certain: in the default place, at the
schema revision for which `zk_pipeline_tests/defs/test_dagster_files.py` compares the answers with those of Dagster.
Everything else, such as PostgreSQL, gives None, and the caller asks Dagster.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from zk_pipeline.defs.instance.daemon_status import HEARTBEAT_TIMEOUT_SECONDS, DaemonStatus
from zk_pipeline.defs.names import Names

REVISION = "29b539ebc72a"  # of both files: Dagster 1.13
# Parts of dagster.yaml that move neither the files nor the daemons of an instance elsewhere.
_PARTS = frozenset(
    (
        "backfills", "code_servers", "compute_logs", "concurrency", "nux", "retention", "run_monitoring", "run_retries",
        "schedules", "secrets", "sensors", "telemetry", "ui",
    )
)  # fmt: skip
_STATUSES = {"RUNNING": True, "DECLARED_IN_CODE": True, "STOPPED": False}
_UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")


class _NotCertain(Exception):
    """The files may mean something else than this module reads."""


def read_daemon_status(dagster_home: Path, names: Names, now: datetime) -> DaemonStatus | None:
    """The same as `daemon_health.daemon_status`, from the files of the instance; None if only Dagster can say."""
    runs, schedules = dagster_home / "history" / "runs.db", dagster_home / "schedules" / "schedules.db"
    try:
        _check_settings(dagster_home / "dagster.yaml")
        if not runs.exists() and not schedules.exists():
            return DaemonStatus({}, [], [], 0)  # nothing has run yet
        with closing(_opened(runs)) as connection:
            heartbeats = _heartbeats(connection)
            in_progress = sum(_own_unfinished_runs(connection, names))
        with closing(_opened(schedules)) as connection:
            states = list(_own_instigators(connection, names))
        _check_heartbeats(heartbeats, dagster_home / "dagster.yaml")
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError, _NotCertain):
        return None
    return DaemonStatus(
        {kind: now.timestamp() - at for kind, at in heartbeats.items()},
        sorted(name for name, is_running in states if is_running),
        sorted(name for name, is_running in states if not is_running),
        in_progress,
    )


def _check_settings(path: Path) -> None:
    """Raises _NotCertain for an instance with other classes or storage than the default ones."""
    for line in path.read_text(encoding="utf-8").splitlines():
        part = re.match(r"([a-z_]+):", line)
        if line.strip() and line[0] not in " #" and (part is None or part[1] not in _PARTS):
            raise _NotCertain


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(REVISION,)]:
        connection.close()
        raise _NotCertain
    return connection


def _heartbeats(connection: sqlite3.Connection) -> dict[str, float]:
    """Seconds since the epoch by daemon type."""
    bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM daemon_heartbeats")]
    return {body["daemon_type"]: float(body["timestamp"]) for body in bodies}


def _check_heartbeats(heartbeats: dict[str, float], settings: Path) -> None:
    """Raises _NotCertain unless one daemon process wrote all heartbeats, under the present settings: those of a daemon
    that only earlier settings required do not count.
    """
    if heartbeats:
        oldest, newest = min(heartbeats.values()), max(heartbeats.values())
        if newest - oldest > HEARTBEAT_TIMEOUT_SECONDS or settings.stat().st_mtime > oldest:
            raise _NotCertain


def _own_unfinished_runs(connection: sqlite3.Connection, names: Names) -> Iterator[bool]:
    """True for each unfinished run of the pipeline. Raises _NotCertain if its tag does not decide."""
    rows = connection.execute(
        f"""
        SELECT runs.pipeline_name, tag.value
        FROM runs LEFT JOIN run_tags AS tag ON tag.run_id = runs.run_id AND tag.key = ?
        WHERE runs.status IN ({", ".join("?" * len(_UNFINISHED))})
        """,  # noqa: S608 (constant SQL)
        [names.pipeline_tag, *_UNFINISHED],
    )
    for job, tag in rows:
        if job.startswith("__") or (job in names.jobs and tag is None):
            raise _NotCertain
        yield job in names.jobs and tag == names.pipeline


def _own_instigators(connection: sqlite3.Connection, names: Names) -> Iterator[tuple[str, bool]]:
    """Name of each of the pipeline's schedules and sensors, and whether it is running."""
    for status, body in connection.execute("SELECT status, instigator_body FROM instigators"):
        name = json.loads(body)["origin"]["job_name"]
        if name in names.instigators:
            yield name, _STATUSES[status]
