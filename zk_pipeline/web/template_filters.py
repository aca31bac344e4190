"""Jinja filters and tests for punches, deliveries and runs. Those for instants and durations are in `formatting`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime

from jinja2 import Environment
from markupsafe import Markup, escape

from zk_pipeline import time_text
from zk_pipeline.errors import FieldsRefused
from zk_pipeline.operations.pushing_terminals import PendingTerminal, listed_command
from zk_pipeline.store.api_tokens import SCOPES
from zk_pipeline.store.push.terminals import PushTerminal
from zk_pipeline.store.queries.delivery_lists import DeliveryRow
from zk_pipeline.store.queries.explanations import PUNCH_STATES
from zk_pipeline.web.list_pages import address, day_address, person_address, site_address

_VERIFY_TYPES = {0: "password", 1: "finger", 2: "card", 15: "face"}
_CODE = re.compile(r"`([^`]+)`")
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# CSS class of a delivery state or attempt outcome; neutral states have none.
_DELIVERY_KINDS = {"delivered": "ok", "retry": "warn", "failed": "bad"}
_OUTCOME_KINDS = {"delivered": "ok", "rejected": "bad", "misconfigured": "bad"}
_FAMILIES = {"A": "attendance push (A)", "B": "push SDK (B)", "C": "security push (C)"}
_DELIVERY_LABELS = {"failed": "dead letter", "pending": "waiting", None: "–"}


def add_template_filters(environment: Environment) -> None:
    environment.filters.update(
        wall_clock=wall_clock,
        with_code=with_code,
        wall_time=wall_time,
        moment=moment,
        punch_state=punch_state,
        verify_type=verify_type,
        delivery_kind=delivery_kind,
        delivery_label=delivery_label,
        outcome_kind=outcome_kind,
        pairs=pairs,
        problem_of=problem_of,
        delivery_key=delivery_key,
        offset=offset,
        protocol=protocol,
        listed_command=listed_command,
    )
    environment.tests["run"] = is_run
    environment.globals.update(
        scopes=SCOPES,
        address=address,
        day_address=day_address,
        person_address=person_address,
        site_address=site_address,
    )


def with_code(text: str) -> Markup:
    """Text with the parts between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


def wall_clock(local: datetime | None) -> str:
    """A recorded time, to the second."""
    return "–" if local is None else time_text.wall_clock(local)


def wall_time(local: datetime | None, day: object = None) -> str:
    """HH:MM of a recorded time, preceded by its date if that is not `day`."""
    if local is None:
        return "–"
    return time_text.time_of_day(local) if local.date() == day else time_text.wall_clock(local, "minutes")


def moment(value: datetime | None, zone: str) -> str:
    """An instant to the second on the wall clock of `zone`, which the table header names."""
    return "–" if value is None else time_text.wall_clock(time_text.in_zone(value, zone))


def protocol(terminal: PushTerminal | PendingTerminal) -> str:
    """Protocol family and version of a terminal that pushes."""
    family = _FAMILIES.get(terminal.family or "", "not known yet")
    return f"{family}, version {terminal.push_version}" if terminal.push_version else family


def offset(seconds: int | None) -> str:
    """A UTC offset as `+03:00`."""
    if seconds is None:
        return "–"
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"


def punch_state(number: int) -> str:
    return PUNCH_STATES.get(number, "–" if number == 255 else f"state {number}")


def verify_type(number: int) -> str:
    return _VERIFY_TYPES.get(number, f"type {number}")


def delivery_kind(state: str | None) -> str:
    return _DELIVERY_KINDS.get(state or "", "")


def delivery_label(state: str | None) -> str:
    return _DELIVERY_LABELS.get(state) or str(state)


def outcome_kind(outcome: str) -> str:
    return _OUTCOME_KINDS.get(outcome, "warn")


def delivery_key(one: DeliveryRow) -> str:
    """Key of a delivery as the value of a form, read by `deliveries`."""
    return json.dumps([one.site, one.user_id, one.work_date.isoformat(), one.revision])


def problem_of(problem: Exception | None, name: str) -> str | None:
    """The message about a field of a form, in a problem of several or in one that its name begins; None if there is
    none.
    """
    if isinstance(problem, FieldsRefused):
        return problem.problems.get(name)
    return str(problem) if problem is not None and str(problem).startswith(f"{name}: ") else None


def pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    """Names as (value, label) options of a choice."""
    return [(value, value) for value in values]


def is_run(run_id: str | None) -> bool:
    """Whether the text has the form of a Dagster run id."""
    return run_id is not None and bool(_RUN.fullmatch(run_id))
