"""From problems to messages: what began, what goes on, what is over, and for whom. Pure, but for `send_due`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.alerting.channels import Alert, Channel
from zk_pipeline.operations.alerting.quality_verdicts import age
from zk_pipeline.store.quality.alerts import Decision, KnownAlert, Message, Problem
from zk_pipeline.store.store import Store

_IN_FULL, _BY_NAME = 10, 40  # problems of one kind in a message: with their words, and by title
_IN_A_LIST, _LONGEST = 200, 3500  # characters of one among others, and of a message
_SEND_AGAIN_AFTER, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)

_MANY = {
    "device": "devices are not read",
    "lock": "terminals were left locked",
    "run": "jobs failed",
    "check": "checks fail",
    "tick": "schedules or sensors fail",
    "crm": "problems with the CRM",
    "daemon": "problems with the daemon",
}


@dataclass(frozen=True)
class Look:
    """What was seen at one moment. Alerts of a kind that is not among `kinds` are left as they are."""

    problems: Sequence[Problem]
    kinds: Collection[str]
    now: datetime


@dataclass(frozen=True)
class _Line:
    problem: Problem
    what: str  # began, lasts, ended or passed: began and ended before anybody was told
    since: datetime


def decide(known: Sequence[KnownAlert], look: Look, channels: Sequence[Channel], reminder: timedelta) -> Decision:
    """What changes between the alerts that are known and what was seen.

    Each problem is told when it begins, every `reminder` while it lasts (never, where that is zero), and when it ends.
    One that comes back within an hour of its end is told only once that hour is over: what comes and goes must not ring
    each time. Without a channel nothing counts as told.
    """
    open_ = {one.problem.key: one for one in known if one.resolved_at is None}
    ended_lately = {one.problem.key for one in known if one.resolved_at is not None and one.notified_at is not None}
    seen = {one.key: one for one in look.problems if one.kind in look.kinds}
    begun = [problem for key, problem in seen.items() if key not in open_]
    reworded = [problem for key, problem in seen.items() if key in open_ and open_[key].problem != problem]
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
        reworded=reworded,
        told=[line.problem.key for line in lines],
        ended=[one.problem.key for one in gone],
        messages=[
            Message(channel.name, *_words(heard, look.now))
            for channel in channels
            if (heard := [line for line in lines if channel.hears(line.problem)])
        ],
    )


def note(known: Sequence[KnownAlert], problem: Problem) -> Decision:
    """Put a problem on record that was only seen once; the next look tells it."""
    open_ = {one.problem.key: one.problem for one in known if one.resolved_at is None}
    if problem.key not in open_:
        return Decision(begun=[problem])
    return Decision(reworded=[problem] if open_[problem.key] != problem else [])


def send_due(store: Store, channels: Sequence[Channel]) -> tuple[int, list[str]]:
    """Send what is due, as one message per channel; how many channels took theirs, and why others did not.

    What a channel did not take is due again, ever later up to an hour. A crash between sending and writing that down
    sends it twice rather than not at all.
    """
    by_name = {channel.name: channel for channel in channels}
    due = store.alerts.claim(_SEND_AGAIN_AFTER * 2)
    taken, failures = 0, []
    for name in dict.fromkeys(one.message.channel for one in due):
        mine = [one for one in due if one.message.channel == name]
        error = None
        if name not in by_name:
            error = f"ALERT_URLS: number {name} is not there any more"
        else:
            try:
                by_name[name].send(_joined([one.message for one in mine]))
            except ZkPipelineError as failed:
                error = str(failed)
        attempts = max(one.attempts for one in mine)
        pause = min(_SEND_AGAIN_AFTER * 2 ** min(attempts, 10), _LONGEST_PAUSE)
        store.alerts.settle([one.id for one in mine], error=error, next_attempt_at=store.clock() + pause)
        taken += error is None
        failures += [error] if error else []
    return taken, failures


def _joined(messages: Sequence[Message]) -> Alert:
    if len(messages) == 1:
        return Alert(messages[0].title, messages[0].body)
    bodies = [f"{one.title}\n{one.body}" for one in messages]
    return Alert(f"zk_pipeline: {len(messages)} alerts that could not be sent before", _bounded("\n\n".join(bodies)))


def _is_worse(now: Problem, before: Problem) -> bool:
    return now.severity == "critical" and before.severity == "warning"


def _words(lines: Sequence[_Line], now: datetime) -> tuple[str, str]:
    """Title and body of one message."""
    parts = [
        (_headline(kind, what, group), _section(group, what, now))
        for what in ("began", "passed", "lasts", "ended")
        for kind in _MANY
        if (group := [line for line in lines if line.what == what and line.problem.kind == kind])
    ]
    if len(parts) == 1:
        return f"zk_pipeline: {parts[0][0]}", _bounded(parts[0][1])
    body = "\n\n".join(f"{headline}\n{section}" for headline, section in parts)
    more = f" (and {len(parts) - 1} more)"
    return f"zk_pipeline: {parts[0][0]}{more}", _bounded(body)


def _headline(kind: str, what: str, group: Sequence[_Line]) -> str:
    words = group[0].problem.title if len(group) == 1 else f"{len(group)} {_MANY[kind]}"
    before = {"began": "", "passed": "", "lasts": "still: ", "ended": "over: "}[what]
    return f"{before}{words}"


def _section(group: Sequence[_Line], what: str, now: datetime) -> str:
    if what == "ended":
        lines = [f"- {one.problem.title}: over after {age(now - one.since)}" for one in group[:_BY_NAME]]
        return "\n".join([*lines, *_and_more(len(group) - len(lines))])
    in_full = group[:_IN_FULL]
    blocks = [
        one.problem.body if len(group) == 1 else f"- {one.problem.title}: {_short(one.problem)}" for one in in_full
    ]
    if len(group) > 1:
        blocks.append(f"The first: {group[0].problem.body.splitlines()[-1]}")
    if what == "lasts":
        blocks.append(f"For {age(now - min(one.since for one in group))} now.")
    if what == "passed":
        blocks.append("It is over already.")
    others = [one.problem.title for one in group[_IN_FULL:_BY_NAME]]
    if others:
        blocks.append("Also: " + "; ".join(others))
    return "\n".join([*blocks, *_and_more(len(group) - len(in_full) - len(others))])


def _short(problem: Problem) -> str:
    first = problem.body.partition("\n")[0]
    return first if len(first) <= _IN_A_LIST else f"{first[:_IN_A_LIST]}..."


def _and_more(count: int) -> list[str]:
    return [f"... and {count} more"] if count > 0 else []


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 20].rstrip() + "\n... (cut off)"
