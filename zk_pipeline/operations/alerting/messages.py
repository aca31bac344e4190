"""Alert messages: decide which problems begin, last or end, render messages per channel, send and retry them.

Pure functions, except `send_due`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.alerting.channels import Alert, Channel
from zk_pipeline.operations.alerting.quality_results import format_age
from zk_pipeline.store.quality.alerts import Decision, KnownAlert, Message, NotifyType, Problem
from zk_pipeline.store.store import Store

_MAX_BODIES, _MAX_TITLES = 10, 40  # problems of one kind in a message: with details, and by title
_MAX_LINE, _MAX_MESSAGE = 200, 3500  # characters of one problem among others, and of a message
_WORST_FIRST: tuple[NotifyType, ...] = ("failure", "warning", "success")
_MIN_RETRY_INTERVAL, _MAX_RETRY_INTERVAL = timedelta(minutes=1), timedelta(hours=1)

_PLURAL_TITLES = {
    "device": "devices are not read",
    "push": "problems with terminals that push",
    "lock": "terminals were left locked",
    "run": "jobs failed",
    "check": "checks fail",
    "tick": "schedules or sensors fail",
    "crm": "problems with the CRM",
    "daemon": "problems with the daemon",
}


@dataclass(frozen=True)
class Observation:
    """Problems observed at one time. Alerts of a kind that is not in `kinds` stay unchanged."""

    problems: Sequence[Problem]
    kinds: Collection[str]
    now: datetime


@dataclass(frozen=True)
class _Line:
    problem: Problem
    phase: str  # began, lasts, ended or passed: began and ended before a notification
    since: datetime


def decide(
    known: Sequence[KnownAlert], look: Observation, channels: Sequence[Channel], reminder: timedelta
) -> Decision:
    """Changes between the known alerts and the observed problems.

    A problem is notified when it begins, every `reminder` while it lasts (never if zero), and when it ends. A problem
    that returns within an hour of its end is notified after that hour, so that an intermittent one does not notify each
    time. Without a channel, no problem counts as notified.
    """
    open_ = {one.problem.key: one for one in known if one.resolved_at is None}
    ended_lately = {one.problem.key for one in known if one.resolved_at is not None and one.notified_at is not None}
    seen = {one.key: one for one in look.problems if one.kind in look.kinds}
    begun = [problem for key, problem in seen.items() if key not in open_]
    updated = [problem for key, problem in seen.items() if key in open_ and open_[key].problem != problem]
    gone = [one for key, one in open_.items() if one.problem.kind in look.kinds and key not in seen]

    lines = [_Line(one, "began", look.now) for one in begun if one.key not in ended_lately]
    for one in open_.values():
        problem = seen.get(one.problem.key, one.problem)
        if one in gone:
            if one.notified_at is not None:
                lines.append(_Line(problem, "ended", one.first_seen_at))
            elif problem.key not in ended_lately:
                lines.append(_Line(problem, "passed", one.first_seen_at))
        elif one.notified_at is None:
            if problem.key not in ended_lately:
                lines.append(_Line(problem, "began", one.first_seen_at))
        elif _is_worse(problem, one.problem):
            lines.append(_Line(problem, "began", one.first_seen_at))
        elif reminder and look.now - one.notified_at >= reminder:
            lines.append(_Line(problem, "lasts", one.first_seen_at))
    if not channels:
        lines = []
    return Decision(
        begun=begun,
        updated=updated,
        notified=[line.problem.key for line in lines],
        ended=[one.problem.key for one in gone],
        messages=[
            Message(channel.name, *_render(accepted, look.now))
            for channel in channels
            if (accepted := [line for line in lines if channel.accepts(line.problem)])
        ],
    )


def note(known: Sequence[KnownAlert], problem: Problem) -> Decision:
    """Record a problem of a single event; the next evaluation notifies it."""
    open_ = {one.problem.key: one.problem for one in known if one.resolved_at is None}
    if problem.key not in open_:
        return Decision(begun=[problem])
    return Decision(updated=[problem] if open_[problem.key] != problem else [])


def send_due(store: Store, channels: Sequence[Channel]) -> tuple[int, list[str]]:
    """Send due messages, joined per channel; returns the number of successful channels, and the errors of the others.

    A failed message is due again after a growing interval, up to an hour. A crash between sending and recording sends
    a message twice rather than never.
    """
    by_name = {channel.name: channel for channel in channels}
    due = store.alerts.claim(_MIN_RETRY_INTERVAL * 2)
    sent, failures = 0, []
    for name in dict.fromkeys(one.message.channel for one in due):
        mine = [one for one in due if one.message.channel == name]
        error = None
        if name not in by_name:
            error = f"ALERT_URLS: number {name} was removed"
        else:
            try:
                by_name[name].send(_joined([one.message for one in mine]))
            except ZkPipelineError as failed:
                error = str(failed)
        attempts = max(one.attempts for one in mine)
        pause = min(_MIN_RETRY_INTERVAL * 2 ** min(attempts, 10), _MAX_RETRY_INTERVAL)
        store.alerts.settle([one.id for one in mine], error=error, next_attempt_at=store.clock() + pause)
        sent += error is None
        failures += [error] if error else []
    return sent, failures


def _joined(messages: Sequence[Message]) -> Alert:
    types = {one.notify_type for one in messages}
    notify_type = next(one for one in _WORST_FIRST if one in types)
    if len(messages) == 1:
        return Alert(messages[0].title, messages[0].body, notify_type)
    bodies = [f"{one.title}\n{one.body}" for one in messages]
    title = f"zk_pipeline: {len(messages)} alerts that could not be sent before"
    return Alert(title, _bounded("\n\n".join(bodies)), notify_type)


def _is_worse(now: Problem, before: Problem) -> bool:
    return now.severity == "critical" and before.severity == "warning"


def _render(lines: Sequence[_Line], now: datetime) -> tuple[str, str, NotifyType]:
    """Title, body and type of one message. The last line of the body is the severity, unless all are resolved."""
    parts = [
        (_headline(kind, phase, group), _section(group, phase, now))
        for phase in ("began", "passed", "lasts", "ended")
        for kind in _PLURAL_TITLES
        if (group := [line for line in lines if line.phase == phase and line.problem.kind == kind])
    ]
    severities = {line.problem.severity for line in lines if line.phase != "ended"}
    severity = f"\nSeverity: {min(severities)}" if severities else ""  # critical before warning
    notify_type: NotifyType = "failure" if "critical" in severities else "warning" if severities else "success"
    if len(parts) == 1:
        return f"zk_pipeline: {parts[0][0]}", _bounded(parts[0][1]) + severity, notify_type
    body = "\n\n".join(f"{headline}\n{section}" for headline, section in parts)
    more = f" (and {len(parts) - 1} more)"
    return f"zk_pipeline: {parts[0][0]}{more}", _bounded(body) + severity, notify_type


def _headline(kind: str, phase: str, group: Sequence[_Line]) -> str:
    title = group[0].problem.title if len(group) == 1 else f"{len(group)} {_PLURAL_TITLES[kind]}"
    prefix = {"began": "", "passed": "", "lasts": "still: ", "ended": "resolved: "}[phase]
    return f"{prefix}{title}"


def _section(group: Sequence[_Line], phase: str, now: datetime) -> str:
    if phase == "ended":
        lines = [f"- {one.problem.title}: resolved after {format_age(now - one.since)}" for one in group[:_MAX_TITLES]]
        return "\n".join([*lines, *_and_more(len(group) - len(lines))])
    in_full = group[:_MAX_BODIES]
    blocks = [
        one.problem.body if len(group) == 1 else f"- {one.problem.title}: {_short(one.problem)}" for one in in_full
    ]
    if len(group) > 1:
        blocks.append(f"The first: {group[0].problem.body.splitlines()[-1]}")
    if phase == "lasts":
        blocks.append(f"Unresolved for {format_age(now - min(one.since for one in group))}.")
    if phase == "passed":
        blocks.append("Already resolved.")
    others = [one.problem.title for one in group[_MAX_BODIES:_MAX_TITLES]]
    if others:
        blocks.append("Also: " + "; ".join(others))
    return "\n".join([*blocks, *_and_more(len(group) - len(in_full) - len(others))])


def _short(problem: Problem) -> str:
    first = problem.body.partition("\n")[0]
    return first if len(first) <= _MAX_LINE else f"{first[:_MAX_LINE]}..."


def _and_more(count: int) -> list[str]:
    return [f"... and {count} more"] if count > 0 else []


def _bounded(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 20].rstrip() + "\n... (cut off)"
