"""Problems of devices with their remedies, for the pages of terminals and sites: those of alerts and checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.alerting.quality_checks import TERMINALS_READ_RECENTLY
from zk_pipeline.operations.alerting.terminal_problems import health_problems, terminal_problems
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.quality import Freshness
from zk_pipeline.store.queries.terminal_health import TerminalHealth

_OWN_REMEDY = "`"  # the text of a problem that names a command needs no other remedy


@dataclass(frozen=True)
class Advice:
    """One problem of a device. `severity`: critical or warning; `text`: the facts; `remedy`: what to do, "" if the text
    has it. Commands are in backticks, with `NAME` for the device.
    """

    device: str
    severity: str
    title: str
    text: str
    remedy: str


def device_advice(
    reach: Freshness, health: Sequence[TerminalHealth], settings: Settings, now: datetime
) -> dict[str, list[Advice]]:
    """Problems of each device that has any: `terminal_problems`, a wrong clock, a full log."""
    advice = [_of_problem(one) for one in terminal_problems(reach, settings, now, links=None)]
    advice += [
        Advice(one.device, "warning", _sentence(one.title), _sentence(one.text), one.check.remedy)
        for one in health_problems(health)
    ]
    by_device: dict[str, list[Advice]] = defaultdict(list)
    for one in advice:
        by_device[one.device].append(one)
    return dict(by_device)


def _of_problem(problem: Problem) -> Advice:
    remedy = "" if _OWN_REMEDY in problem.body or problem.kind != "device" else TERMINALS_READ_RECENTLY.remedy
    device = problem.key.partition(":")[2]
    title = problem.title if problem.title.startswith(device) else _sentence(problem.title)
    return Advice(device, problem.severity, title, _sentence(problem.body), remedy)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
