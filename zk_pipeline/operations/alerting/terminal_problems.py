"""Problems of terminals, for alerts, the home page and the pages of terminals and sites."""

from __future__ import annotations

from datetime import datetime, timedelta

from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.alerting.problems import Links, device_problems, lock_problems, push_problems
from zk_pipeline.operations.alerting.quality_results import max_silence
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.quality import Freshness


def terminal_problems(found: Freshness, settings: Settings, now: datetime) -> list[Problem]:
    """Terminals that are not read, silent, locked, or with punches that are not in the store."""
    silence = max_silence(settings.polling_interval_minutes)
    return [
        *lock_problems(found, now, timedelta(seconds=settings.poll_deadline)),
        *device_problems(found, now, silence, Links(settings.ui_url)),
        *push_problems(found, now, silence),
    ]
