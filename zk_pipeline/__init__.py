"""Attendance punches from ZKTeco terminals into DuckDB, days by pandas rules, exactly-once delivery to a CRM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zk_pipeline.defs.component import AttendancePipeline as AttendancePipeline

__version__ = "0.1.0"

_COMPONENT = "AttendancePipeline"


def __getattr__(name: str) -> Any:
    """The Dagster component, imported at its first use: most commands do without Dagster, which is slow to import."""
    if name != _COMPONENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zk_pipeline.defs.component import AttendancePipeline  # noqa: PLC0415

    return AttendancePipeline


def __dir__() -> list[str]:
    """Names for Dagster's registry of components."""
    return [*globals(), _COMPONENT]
