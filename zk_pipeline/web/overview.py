"""Home page: current problems with their remedies, and the last 24 hours of terminals, punches and deliveries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from zk_pipeline.counted import counted
from zk_pipeline.http.services import Given
from zk_pipeline.operations.alerting.current import CurrentProblem, current_problems
from zk_pipeline.operations.crm_pause import paused_until
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.home import HOUR, HOURS, HomeFacts, HourlyDeliveries, TerminalHours, UsualDay
from zk_pipeline.store.queries.terminal_health import terminal_health
from zk_pipeline.time_text import in_zone, time_of_day
from zk_pipeline.web.charts import Bar, Cell, MatrixRow, bar_chart, heat_matrix, legend, sparkline
from zk_pipeline.web.list_pages import site_address
from zk_pipeline.web.rendering import Reader, render
from zk_pipeline.web.template_filters import with_code

router = APIRouter(include_in_schema=False)
MAX_PROBLEMS, MAX_TERMINALS, MAX_SITES = 10, 30, 10  # shown; further ones are counted, with a link
MAX_DEVICES = 3  # shown each as a problem; more are one problem
MAX_NAMES = 20  # in this problem
# CSS class and label of each delivery state, in the order of a delivery.
_STATES = {
    "pending": ("", "waiting"),
    "sending": ("", "being sent"),
    "retry": ("warn", "retry"),
    "failed": ("bad", "dead letters"),
    "delivered": ("ok", "delivered"),
    "superseded": ("", "superseded"),
}
_HOUR_NAMES = [f"{hour:02}" for hour in range(HOURS)]
_RUN_LINE = re.compile(r"Run (\S+)")


@dataclass(frozen=True)
class ShownProblem:
    """A problem as a list item; `address` is where to look, None for the daemon."""

    kind: str  # CSS class
    severity: str
    title: str
    body: Markup
    address: str | None
    owner: str
    since: datetime | None


@dataclass(frozen=True)
class SiteLine:
    """A row of the table of sites."""

    name: str
    address: str
    present: int
    punches: int
    hours: Markup


@router.get("/")
def overview(request: Request, services: Given, identity: Reader) -> Response:
    now, settings = services.clock(), services.settings
    facts = services.store.home.read(
        work_rules(settings),
        first=settings.history_start,
        last=services.last_work_date(),
        now=now,
        zone=settings.timezone,
    )
    health, daemon = terminal_health(services.store.database), services.watch.liveness_problem(now)
    current = current_problems(facts.late, health, facts.alerts, settings, now, daemon=daemon)
    problems = _shown_problems(current, facts.terminals)
    present = services.store.muster.present(now, debounce_seconds=settings.debounce_seconds)
    sites = _sites(facts, present)
    return render(
        request,
        "overview.html",
        identity,
        facts=facts,
        problems=problems[:MAX_PROBLEMS],
        problem_count=len(problems),
        is_critical=any(one.severity == "critical" for one in problems),
        present=sum(present.values()),
        sites=sites[:MAX_SITES],
        site_count=len(sites),
        terminals_well=len(facts.terminals) - len(_names_in(current)),
        punches_today=sum(map(sum, facts.punches.today.values())),
        usual_by_now=_usual_by_now(facts.punches),
        punch_chart=_punch_chart(facts.punches),
        delivery_chart=_delivery_chart(facts, settings.timezone),
        matrix=_matrix(facts, settings.timezone, _names_in(current)),
        delays=_delays(facts),
        deliveries=[(state, *shown, facts.deliveries.get(state, 0)) for state, shown in _STATES.items()],
        paused=paused_until(services.store, settings),
        is_crm_set=settings.crm_api_url is not None,
        dagster=services.watch.daemon_status(now),
        max_terminals=MAX_TERMINALS,
    )


def _shown_problems(problems: Sequence[CurrentProblem], terminals: Iterable[TerminalHours]) -> list[ShownProblem]:
    """The problems as list items; those of more than MAX_DEVICES terminals that are not read are one item."""
    addresses = {one.name: f"/devices/{one.id}" for one in terminals}
    unread = [one for one in problems if one.problem.kind == "device"]
    if len(unread) <= MAX_DEVICES:
        return [_shown(one, addresses) for one in problems]
    first = next(number for number, one in enumerate(problems) if one is unread[0])
    shown: list[ShownProblem] = [_shown(one, addresses) for one in problems if one.problem.kind != "device"]
    shown.insert(first, _unread(unread, addresses))
    return shown


def _shown(one: CurrentProblem, addresses: Mapping[str, str]) -> ShownProblem:
    kind, _, name = one.problem.key.partition(":")
    places = {
        "crm": "/deliveries?state=failed" if name == "dead_letters" else "/deliveries",
        "run": "/runs",
        "check": "/runs",
        "tick": "/runs",
    }
    return ShownProblem(
        kind="bad" if one.problem.severity == "critical" else "warn",
        severity=one.problem.severity,
        title=_sentence(one.problem),
        body=_marked_up(one.problem.body),
        address=places.get(kind, addresses.get(name)),
        owner=one.problem.owner,
        since=one.since,
    )


def _sentence(problem: Problem) -> str:
    """The title with a capital, unless it begins with the name of a device, job or sensor."""
    title = problem.title
    return title[:1].upper() + title[1:] if problem.kind in ("crm", "health") else title


def _unread(found: Sequence[CurrentProblem], addresses: Mapping[str, str]) -> ShownProblem:
    """One item for many terminals, with links to them and the message of the first one."""
    names = [one.problem.key.partition(":")[2] for one in found]
    links = Markup(", ").join(
        Markup('<a href="{}">{}</a>').format(addresses.get(name, "/devices"), name) for name in names[:MAX_NAMES]
    )
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    example = Markup("{}: {}").format(names[0], _marked_up(found[0].problem.body))
    return replace(
        _shown(found[0], addresses),
        title=f"{counted(len(found), 'terminal')} are not read",
        body=Markup("{}{}.\n{}").format(links, more, example),
        address="/devices",
    )


def _marked_up(text: str) -> Markup:
    """The text of a problem with commands between backticks as code and its links."""
    return Markup("\n").join(_line(line) for line in text.splitlines())


def _line(line: str) -> Markup:
    if line.startswith(("https://", "http://")) and " " not in line:
        return Markup('<a href="{}">{}</a>').format(line, line)
    if run := _RUN_LINE.fullmatch(line):
        return Markup('<a href="/runs/{}">{}</a>').format(run[1], line)
    return with_code(line)


def _names_in(problems: Iterable[CurrentProblem]) -> set[str]:
    """Names of the devices with problems."""
    keys = (one.problem.key.partition(":") for one in problems if one.problem.kind in ("device", "push", "lock"))
    return {name for _, _, name in keys}


def _sites(facts: HomeFacts, present: Mapping[str, int]) -> list[SiteLine]:
    """Sites of enabled terminals and of present users, those with most users first."""
    names = {one.site for one in facts.terminals} | present.keys()
    lines = [
        SiteLine(
            name,
            site_address(name),
            present.get(name, 0),
            sum(hours := facts.punches.today.get(name, [0] * HOURS)),
            sparkline(
                hours[: facts.punches.last_hour + 1],
                f"{counted(sum(hours), 'punch', 'punches')} by hour, at most {max(hours):,} in one hour",
            ),
        )
        for name in names
    ]
    return sorted(lines, key=lambda one: (-one.present, -one.punches, one.name))


def _usual_by_now(punches: UsualDay) -> int | None:
    """Usual punches of the hours of today that are over; None without earlier days."""
    return round(sum(punches.usual[: punches.last_hour])) if punches.days else None


def _punch_chart(punches: UsualDay) -> Markup:
    counts = [sum(hours) for hours in zip(*punches.today.values(), strict=True)] or [0] * HOURS
    usual = punches.usual if punches.days else [None] * HOURS
    bars = [
        Bar(name, counts[hour] if hour <= punches.last_hour else None, usual[hour])
        for hour, name in enumerate(_HOUR_NAMES)
    ]
    meanings = [("column", "today")]
    if punches.days:
        meanings.append(("usual", f"usual {punches.weekday or 'weekday'}: median of {counted(punches.days, 'day')}"))
    return bar_chart("Punches per hour today", bars) + legend(meanings)


def _delivery_chart(facts: HomeFacts, zone: str) -> Markup:
    sent = [facts.sent.get(hour, HourlyDeliveries()) for hour in range(HOURS)]
    bars = [
        Bar(name, one.delivered, failed=one.failed) for name, one in zip(_hour_names(facts, zone), sent, strict=True)
    ]
    chart = bar_chart("Deliveries per hour in the last 24 hours", bars)
    return chart + legend([("column", "delivered"), ("failed", "attempts without success")])


def _hour_names(facts: HomeFacts, zone: str) -> list[str]:
    return [time_of_day(in_zone(facts.begin + number * HOUR, zone))[:2] for number in range(HOURS)]


def _matrix(facts: HomeFacts, zone: str, bad: set[str]) -> Markup:
    """Terminals by hour, those with problems and failed polls first."""
    found = sorted(facts.terminals, key=lambda one: (one.name not in bad, -one.failed, one.name))
    hours = _hour_names(facts, zone)
    rows = [
        MatrixRow(one.name, [_cell(one, facts, number, hours[number]) for number in range(HOURS)], f"/devices/{one.id}")
        for one in found[:MAX_TERMINALS]
    ]
    heads = [name if number % 3 == 0 else "" for number, name in enumerate(hours)]
    table = heat_matrix(f"Contacts with each terminal by hour ({zone})", heads, rows, "Terminal")
    meanings = [
        ("ok", "read, or uploads received"),
        ("warn", "! some polls failed"),
        ("bad", "× all polls failed"),
        ("none", "· no contact"),
        ("off", "not registered yet, or not over yet"),
    ]
    return table + legend(meanings)


def _cell(one: TerminalHours, facts: HomeFacts, number: int, hour: str) -> Cell:
    found = one.hours.get(number)
    if found is not None and found.failed:
        total = counted(found.read + found.failed, "poll")
        is_bad = not found.read and not found.uploads
        return Cell("bad" if is_bad else "warn", f"{hour}:00, {found.failed} of {total} failed", "×" if is_bad else "!")
    if found is not None:
        parts = [counted(found.read, "poll")] if found.read else []
        parts += [counted(found.uploads, "upload")] if found.uploads else []
        return Cell("ok", f"{hour}:00, {', '.join(parts)}")
    if one.created_at >= facts.begin + (number + 1) * HOUR:
        return Cell("off", f"{hour}:00, not registered yet")
    if number == HOURS - 1:
        return Cell("off", f"{hour}:00, not over yet")
    return Cell("none", f"{hour}:00, no contact", "·")


def _delays(facts: HomeFacts) -> list[tuple[str, str, str, int]]:
    """Stage, median, 95th percentile and number of values."""
    stages = {
        "Punch → store": facts.delays.to_store,
        "Store → attendance day": facts.delays.to_day,
        "Attendance day → CRM": facts.delays.to_crm,
        "Punch → CRM": facts.delays.altogether,
    }
    return [(name, _span(one.median), _span(one.p95), one.count) for name, one in stages.items()]


def _span(seconds: float | None) -> str:
    """Seconds as `45 s`, `14 min` or `3 h 05 min`."""
    if seconds is None:
        return "–"
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
