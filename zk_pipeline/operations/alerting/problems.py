"""Current problems for alerts, from facts about the data and the runs. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.counted import counted
from zk_pipeline.operations.alerting.quality_checks import ONE_SITE_PER_USER_AND_DATE, TERMINALS_READ_RECENTLY
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.quality import DeviceReach, Freshness, PushReach
from zk_pipeline.time_text import instant

OWNER_OF_ASSET = {
    "devices": "terminals",
    "raw_punches": "terminals",
    "work_dates": "attendance",
    "daily_attendance": "attendance",
    "crm_sync": "crm",
}
OWNER_OF_JOB = {
    "poll_devices": "terminals",
    "process_attendance": "attendance",
    "sync_to_crm": "crm",
    "retry_failed_syncs": "crm",
}
DEFAULT_OWNER = "operations"

# Checks without an alert of their own: `device_problems` alerts for each terminal, `crm_problems` for dead letters,
# DELIVERED_IN_TIME for overdue deliveries. A failed ONE_SITE_A_DAY is information, not a fault.
ALERTED_ELSEWHERE = {
    TERMINALS_READ_RECENTLY.name,
    "every_record_accounted_for",
    "no_dead_letters",
    "no_overdue_deliveries",
    ONE_SITE_PER_USER_AND_DATE.name,
}
REFUSED_FOR = timedelta(hours=1)  # after the last refused upload: a terminal repeats one every 30 s
CRM_MISCONFIGURED, DEAD_LETTERS = "crm:misconfigured", "crm:dead_letters"


@dataclass(frozen=True)
class FailedCheck:
    """A failed latest evaluation of a check. `severity` is ERROR or WARN."""

    asset: str
    name: str
    severity: str
    message: str


@dataclass(frozen=True)
class FailedRun:
    """A failed run, with the first lines of its error message."""

    run_id: str
    job: str
    message: str
    is_misconfigured_crm: bool = False


@dataclass(frozen=True)
class Links:
    """Links for further investigation; `ui` is the URL of the Dagster UI, None if unknown."""

    ui: str | None = None

    def run(self, run_id: str) -> str:
        return f"{self.ui}/runs/{run_id}" if self.ui else f"Run {run_id}"

    def check(self, asset: str, name: str) -> str:
        return f"{self.ui}/assets/{asset}?view=checks&checkDetail={name}" if self.ui else f"Check {name} of {asset}"

    def lineage(self) -> str:
        """The lineage page with all groups expanded: it collapses them unless the address names them."""
        groups = dict.fromkeys(OWNER_OF_ASSET.values())  # each owner has a group
        return f"{self.ui}/asset-groups?expanded={','.join(f'global@global:{group}' for group in groups)}"

    def automation(self, name: str) -> str:
        return f"{self.ui}/automation (see {name})" if self.ui else f"Automation {name}"


def device_problems(found: Freshness, now: datetime, silence: timedelta, links: Links | None) -> list[Problem]:
    """Enabled devices whose latest poll failed, that were not polled for longer than `silence`, or with records that
    are not in the store. Critical if these are all devices. `links`: None for texts without the run.
    """
    messages = {one.device: _device_message(one, now, silence) for one in found.devices}
    bad = {name: message for name, message in messages.items() if message}
    severity = "critical" if len(bad) == len(messages) else "warning"
    runs = {one.device: one.run_id for one in found.devices}
    return [
        Problem(
            key=f"device:{name}",
            kind="device",
            severity=severity,
            owner="terminals",
            title=f"{name} is not read",
            body=_lines(message, links.run(str(run)) if links and (run := runs[name]) else ""),
        )
        for name, message in bad.items()
    ]


def push_problems(found: Freshness, now: datetime, silence: timedelta) -> list[Problem]:
    """Enabled terminals that push: without a contact for longer than `silence`, with uploads that cannot be read, or
    with punches that they were asked for and that are not in the store. Silence of all of them is critical: the
    receiver may have ended.
    """
    silent = [one for one in found.pushing if now - one.silent_since > silence]
    severity = "critical" if len(silent) == len(found.pushing) else "warning"
    return [
        *(_push(f"push:{one.device}", severity, f"{one.device} is silent", _silence(one)) for one in silent),
        *(
            _push(f"missing:{one.device}", "warning", f"punches of {one.device} are missing", _missing(one))
            for one in found.pushing
            if one.missing
        ),
        *(
            _push(f"refused:{one.device}", "critical", f"uploads of {one.device} cannot be read", _refused(one))
            for one in found.pushing
            if one.refused_at is not None and now - one.refused_at <= REFUSED_FOR
        ),
    ]


def lock_problems(found: Freshness, now: datetime, longest: timedelta) -> list[Problem]:
    """Terminals with a keypad locked for longer than a reading may take: a reading ended without unlocking it."""
    return [
        Problem(
            key=f"lock:{name}",
            kind="lock",
            severity="critical",
            owner="terminals",
            title=f"{name} was left locked",
            body=f"Its keypad was locked at {instant(since, precision='minutes')} for a reading, or to clear its log, "
            "which ended without unlocking it: employees may be unable to punch. `zk-pipeline test-device NAME`, like "
            "every other connection to it, unlocks it; so does restarting the terminal. The alert ends with the next "
            "connection.",
        )
        for name, since in found.locked_since.items()
        if now - since > longest
    ]


def check_problems(failed: Sequence[FailedCheck], links: Links) -> list[Problem]:
    """Failed checks, critical if their severity is ERROR, without those of ALERTED_ELSEWHERE."""
    return [
        Problem(
            key=f"check:{one.asset}:{one.name}",
            kind="check",
            severity="critical" if one.severity == "ERROR" else "warning",
            owner=OWNER_OF_ASSET.get(one.asset.rpartition("/")[2], DEFAULT_OWNER),
            title=f"{one.asset}: check {one.name.replace('_', ' ')} failed",
            body=_lines(one.message, links.check(one.asset, one.name)),
        )
        for one in failed
        if one.name not in ALERTED_ELSEWHERE
    ]


def run_problem(run: FailedRun, links: Links) -> Problem:
    """A failed run, or a misconfigured CRM if that was the cause."""
    crm = run.is_misconfigured_crm
    return Problem(
        key=CRM_MISCONFIGURED if crm else f"run:{run.job}",
        kind="crm" if crm else "run",
        severity="critical",
        owner="crm" if crm else _owner_of_job(run.job.partition(" ")[0]),  # a queue may follow
        title="the CRM is misconfigured" if crm else f"{run.job} failed",
        body=_lines(run.message, links.run(run.run_id)),
    )


def _owner_of_job(name: str) -> str:
    """`name` may begin with the key prefix of the pipeline."""
    return next((owner for job, owner in OWNER_OF_JOB.items() if name.endswith(job)), DEFAULT_OWNER)


def crm_problems(found: Freshness, misconfigured: str | None) -> list[Problem]:
    """A misconfigured CRM with due deliveries, and dead letters."""
    waiting, problems = found.undelivered, []
    if misconfigured and waiting.due:
        count = counted(waiting.due, "delivery waits", "deliveries wait")
        body = f"{misconfigured}. {count}. Correct the setting, then check it with `zk-pipeline test-crm`."
        problems.append(_crm(CRM_MISCONFIGURED, "critical", "the CRM is misconfigured", body))
    if waiting.failed:
        remedy = "After correcting the cause, send them again with `zk-pipeline sync --retry-failed`."
        body = f"{counted(waiting.failed, 'dead letter')}; one of the errors: {waiting.failed_error}. {remedy}"
        problems.append(_crm(DEAD_LETTERS, "warning", "dead letters at the CRM", body))
    return problems


def tick_problem(name: str, message: str, links: Links) -> Problem:
    """A schedule or sensor whose latest tick failed."""
    return Problem(
        key=f"tick:{name}",
        kind="tick",
        severity="critical",
        owner=DEFAULT_OWNER,
        title=f"{name} fails",
        body=_lines(message, links.automation(name)),
    )


def daemon_problem(message: str) -> Problem:
    """The Dagster daemon has no current heartbeat, so that no run is started."""
    return Problem(
        key="daemon",
        kind="daemon",
        severity="critical",
        owner=DEFAULT_OWNER,
        title="Dagster daemon heartbeat missing",
        body=f"{message} No poll, processing or delivery starts until it runs again.",
    )


def _device_message(one: DeviceReach, now: datetime, silence: timedelta) -> str:
    """Message without a growing duration, so that it is unchanged while the problem is."""
    read = instant(one.silent_since, precision="minutes")
    if one.error:
        return f"[{one.error_code}] {one.error} (last successful poll or registration change: {read})"
    if now - one.silent_since > silence:
        return f"no poll since {read}: check that the daemon and the schedule of poll_devices are running"
    if not one.missing:
        return ""
    count = counted(one.missing, "record on the terminal is", "records on the terminal are")
    return f"{count} not in the store: `zk-pipeline poll NAME --full`"


def _push(key: str, severity: str, title: str, body: str) -> Problem:
    return Problem(key=key, kind="push", severity=severity, owner="terminals", title=title, body=body)


def _silence(one: PushReach) -> str:
    since = instant(one.silent_since, precision="minutes")
    return (
        f"no contact with the receiver since {since}: check the terminal's power, network and server address, and that "
        "the receiver runs. Its punches stay in its log, and it sends them when it connects again."
    )


def _refused(one: PushReach) -> str:
    is_encrypted = "encrypts" in (one.refusal or "")
    switch = "Switch encryption off in its menu (cloud server settings), or export" if is_encrypted else "Export"
    return (
        f"{one.refusal}. The terminal keeps the punches of this upload, and all later ones, and repeats it. {switch} "
        "its log to a USB stick, and store it with "
        f"`zk-pipeline import punches FILE --device {shlex.quote(one.device)}`."
    )


def _missing(one: PushReach) -> str:
    name = shlex.quote(one.device)
    count = counted(one.missing, "punch", "punches")
    return (
        f"the terminal counts {count} from {one.differs_from} to {one.differs_until} that are not in the store, and "
        "has not sent them on request. It is asked again each day; "
        f"`zk-pipeline device command {name} punches --start-date {one.differs_from} --end-date {one.differs_until}` "
        "asks now. Otherwise export its log to a USB stick, and store it with `zk-pipeline import punches FILE "
        f"--device {name}`."
    )


def _crm(key: str, severity: str, title: str, body: str) -> Problem:
    return Problem(key=key, kind="crm", severity=severity, owner="crm", title=title, body=body)


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
