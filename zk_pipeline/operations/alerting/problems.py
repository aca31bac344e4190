"""What is wrong just now, as problems that people are told of. Pure: from facts about the data and about the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.operations.alerting.quality_checks import ONE_SITE_A_DAY, TERMINALS_READ_RECENTLY
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.quality import DeviceReach, Freshness

OWNER_OF_ASSET = {
    "devices": "terminals",
    "raw_punches": "terminals",
    "daily_attendance": "attendance",
    "crm_sync": "crm",
}
OWNER_OF_JOB = {
    "poll_devices": "terminals",
    "process_attendance": "attendance",
    "sync_to_crm": "crm",
    "retry_failed_syncs": "crm",
}
OTHERS = "operations"

# Checks that say what people are told by other means: of each terminal by `device_problems`, of dead letters by
# `crm_problems`, of late deliveries after two hours by DELIVERED_IN_TIME. And one that is worth knowing and no fault.
TOLD_OTHERWISE = {
    TERMINALS_READ_RECENTLY.name,
    "every_record_accounted_for",
    "no_dead_letters",
    "no_overdue_deliveries",
    ONE_SITE_A_DAY.name,
}
CRM_MISCONFIGURED, DEAD_LETTERS = "crm:misconfigured", "crm:dead_letters"


@dataclass(frozen=True)
class FailedCheck:
    """The newest evaluation of a check, which failed. `severity` is ERROR or WARN."""

    asset: str
    name: str
    severity: str
    words: str


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, with the first lines of what it said."""

    run_id: str
    job: str
    words: str
    is_misconfigured_crm: bool = False


@dataclass(frozen=True)
class Links:
    """Where people look further; `ui` is the Dagster UI, None where it is not known."""

    ui: str | None = None

    def run(self, run_id: str) -> str:
        return f"{self.ui}/runs/{run_id}" if self.ui else f"Run {run_id}"

    def check(self, asset: str, name: str) -> str:
        return f"{self.ui}/assets/{asset}?view=checks&checkDetail={name}" if self.ui else f"Check {name} of {asset}"

    def automation(self, name: str) -> str:
        return f"{self.ui}/automation (look for {name})" if self.ui else f"Automation {name}"


def device_problems(found: Freshness, now: datetime, silence: timedelta, links: Links) -> list[Problem]:
    """Enabled devices whose newest poll failed, that were not read for longer than `silence`, or that hold records
    which the store does not. Critical where that is all of them.
    """
    worded = {one.device: _device_words(one, now, silence) for one in found.devices}
    bad = {name: words for name, words in worded.items() if words}
    severity = "critical" if len(bad) == len(worded) else "warning"
    runs = {one.device: one.run_id for one in found.devices}
    return [
        Problem(
            key=f"device:{name}",
            kind="device",
            severity=severity,
            owner="terminals",
            title=f"{name} is not read",
            body=_lines(words, links.run(str(run)) if (run := runs[name]) else ""),
        )
        for name, words in bad.items()
    ]


def lock_problems(found: Freshness, now: datetime, longest: timedelta) -> list[Problem]:
    """Terminals that are locked for longer than a reading may take: one ended without unlocking its terminal."""
    return [
        Problem(
            key=f"lock:{name}",
            kind="lock",
            severity="critical",
            owner="terminals",
            title=f"{name} was left locked",
            body=f"It was locked at {since:%Y-%m-%d %H:%M} UTC for a reading, or to clear its log, which ended without "
            "unlocking it: people may not be able to punch. `zk-pipeline test-device NAME`, like every other contact "
            "with it, unlocks it; so does restarting the terminal, and the alert ends with the next contact.",
        )
        for name, since in found.locked_since.items()
        if now - since > longest
    ]


def check_problems(failed: Sequence[FailedCheck], links: Links) -> list[Problem]:
    """Failed checks, critical where their severity is ERROR, but for those TOLD_OTHERWISE."""
    return [
        Problem(
            key=f"check:{one.asset}:{one.name}",
            kind="check",
            severity="critical" if one.severity == "ERROR" else "warning",
            owner=OWNER_OF_ASSET.get(one.asset, OTHERS),
            title=f"{one.asset}: {one.name.replace('_', ' ')} does not hold",
            body=_lines(one.words, links.check(one.asset, one.name)),
        )
        for one in failed
        if one.name not in TOLD_OTHERWISE
    ]


def run_problem(run: FailedRun, links: Links) -> Problem:
    """A failed run; of a CRM that somebody must configure first, that."""
    crm = run.is_misconfigured_crm
    return Problem(
        key=CRM_MISCONFIGURED if crm else f"run:{run.job}",
        kind="crm" if crm else "run",
        severity="critical",
        owner="crm" if crm else OWNER_OF_JOB.get(run.job.partition(" ")[0], OTHERS),  # a queue may follow
        title="the CRM is misconfigured" if crm else f"{run.job} failed",
        body=_lines(run.words, links.run(run.run_id)),
    )


def crm_problems(found: Freshness, misconfigured: str | None) -> list[Problem]:
    """A CRM whose settings keep due deliveries from being sent, and dead letters."""
    waiting, problems = found.undelivered, []
    if misconfigured and waiting.due:
        words = f"{misconfigured}. {waiting.due} deliveries wait. `zk-pipeline test-crm` tells when it is right."
        problems.append(_crm(CRM_MISCONFIGURED, "critical", "the CRM is misconfigured", words))
    if waiting.failed:
        cure = "When the cause is gone, `zk-pipeline sync --retry-failed` sends them again."
        words = f"The CRM refused {waiting.failed} deliveries for good; it said: {waiting.failed_words}. {cure}"
        problems.append(_crm(DEAD_LETTERS, "warning", "dead letters at the CRM", words))
    return problems


def tick_problem(name: str, words: str, links: Links) -> Problem:
    """A schedule or sensor whose newest tick failed."""
    return Problem(
        key=f"tick:{name}",
        kind="tick",
        severity="critical",
        owner=OTHERS,
        title=f"{name} fails",
        body=_lines(words, links.automation(name)),
    )


def daemon_problem(words: str) -> Problem:
    """Nothing is scheduled any more."""
    return Problem(
        key="daemon",
        kind="daemon",
        severity="critical",
        owner=OTHERS,
        title="the daemon is not beating",
        body=f"{words} No poll, no processing and no delivery is started until it runs again.",
    )


def _device_words(one: DeviceReach, now: datetime, silence: timedelta) -> str:
    """Without a span that grows: what is said stays the same while nothing changes."""
    read = f"{one.silent_since:%Y-%m-%d %H:%M} UTC"
    if one.error:
        return f"[{one.error_code}] {one.error} (read or changed last at {read})"
    if now - one.silent_since > silence:
        return f"not read since {read}, and not tried: are poll_devices and its schedule running?"
    return f"{one.missing} of its records are not here: `zk-pipeline poll NAME --full`" if one.missing else ""


def _crm(key: str, severity: str, title: str, body: str) -> Problem:
    return Problem(key=key, kind="crm", severity=severity, owner="crm", title=title, body=body)


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
