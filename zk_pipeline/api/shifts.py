"""Shifts and their assignments; docs/attendance.md has the rules, `holidays` the days off."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.responses import FAILURES
from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import SHIFT_RULES, Assignment, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Admin, Reader
from zk_pipeline.http.fields import Clock, Date, Hours, Id, Name, UserId, as_date, as_time, clock_text
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.strict_input import StrictRoute

router = APIRouter(prefix="/api", tags=["hours"], responses=FAILURES, route_class=StrictRoute)

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Minutes = Annotated[int, Field(ge=0, le=1440)]
RuleText = Annotated[str, Field(max_length=500)]
ShiftName = Annotated[str, Path(min_length=1, max_length=100)]
AssignmentId = Annotated[int, Path(ge=1, le=2**31 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ShiftBody(_Body):
    """Named working hours; null fields are taken from the settings."""

    name: Name
    start: Clock
    end: Clock = Field(description="Before start: overnight")
    weekdays: list[Weekday] = Field(list(get_args(Weekday)), min_length=1, description="Others are days off")
    workday_starts_at: Clock | None = Field(None, description="Start of its work dates; null: in the time off")
    early_clock_in_hours: Hours | None = None
    late_clock_in_hours: Hours | None = None
    early_clock_out_hours: Hours | None = None
    late_clock_out_hours: Hours | None = None
    late_grace_minutes: Minutes = Field(0, description="Minutes after the start up to which a clock-in is not late")
    early_leave_grace_minutes: Minutes = Field(
        0, description="Minutes before the end from which a clock-out is not early"
    )
    half_day_below_minutes: Minutes = Field(0, description="Fewer worked minutes are half a day; 0: never")
    absent_below_minutes: Minutes = Field(0, description="Fewer worked minutes are an absence; 0: never")
    breaks: RuleText = Field("", description=RULE_TEXTS["breaks"][1])
    overtime: RuleText = Field("", description=RULE_TEXTS["overtime"][1])
    night_hours: RuleText = Field("", description=RULE_TEXTS["night_hours"][1])
    rounding: RuleText = Field("", description=RULE_TEXTS["rounding"][1])
    core_time: RuleText = Field("", description=RULE_TEXTS["core_time"][1])
    alternatives: RuleText = Field("", description=RULE_TEXTS["alternatives"][1])


class AssignmentBody(_Body):
    """Assignment of a shift to a user (with a site: only there), to a device, or to a site."""

    shift: Name
    user_id: UserId | None = None
    site: Name | None = None
    device: Id | None = Field(None, description="Its id")
    valid_from: Date | None = Field(None, description="First work date; null: no start")
    valid_to: Date | None = Field(None, description="Last work date; null: no end")


class AssignmentAnswer(BaseModel):
    """A stored assignment."""

    id: int
    shift: str
    user_id: str | None
    site: str | None
    device: int | None = Field(description="Its id")
    device_name: str | None
    valid_from: date | None
    valid_to: date | None


@router.get("/shifts/", response_model=list[ShiftBody])
def shifts(services: Given, _: Reader) -> list[dict[str, Any]]:
    """All shifts, by name."""
    return [_answer(one) for one in services.store.shifts.all()]


@router.post("/shifts/", response_model=ShiftBody, status_code=201)
def add_shift(services: Given, _: Admin, new: ShiftBody) -> dict[str, Any]:
    """Create a shift. It applies only where it is assigned."""
    return _answer(services.store.shifts.add(_shift(new)))


@router.get("/shifts/{name}/", response_model=ShiftBody)
def shift(services: Given, _: Reader, name: ShiftName) -> dict[str, Any]:
    """One shift."""
    return _answer(_known(services, name))


@router.put("/shifts/{name}/", response_model=ShiftBody)
def replace_shift(services: Given, _: Admin, name: ShiftName, new: ShiftBody) -> dict[str, Any]:
    """Replace a shift; the next processing run reprocesses its attendance days."""
    _known(services, name)
    if new.name != name:
        raise UsageError(f"name: {name!r} cannot be renamed; create another shift and assign it")
    return _answer(services.store.shifts.update(_shift(new)))


@router.delete("/shifts/{name}/", status_code=204)
def remove_shift(services: Given, _: Admin, name: ShiftName) -> Response:
    """Remove a shift; refused while it has assignments."""
    services.store.shifts.remove(_known(services, name).name)
    return Response(status_code=204)


@router.get("/shift-assignments/", response_model=list[AssignmentAnswer])
def assignments(services: Given, _: Reader) -> list[dict[str, Any]]:
    """All assignments, by target and time."""
    ids = {one.name: one.id for one in services.store.devices.all()}
    return [_assigned(one, ids) for one in services.store.shifts.assignments()]


@router.post("/shift-assignments/", response_model=AssignmentAnswer, status_code=201)
def assign(services: Given, _: Admin, new: AssignmentBody) -> dict[str, Any]:
    """Assign a shift to a user, a device or a site. Assignments of users come before those of devices, then sites."""
    ids = {one.name: one.id for one in services.store.devices.all()}
    name = next((name for name, number in ids.items() if number == new.device), None)
    if new.device is not None and name is None:
        raise UsageError(f"device: there is none with the id {new.device}")
    wanted = Assignment(
        shift=new.shift,
        target=Target(user_id=new.user_id, site=new.site, device=name),
        valid_from=as_date(new.valid_from),
        valid_to=as_date(new.valid_to),
    )
    return _assigned(services.store.shifts.assign(wanted), ids)


@router.delete("/shift-assignments/{assignment_id}/", status_code=204)
def unassign(services: Given, _: Admin, assignment_id: AssignmentId) -> Response:
    """Remove an assignment; the next processing run reprocesses its attendance days."""
    if all(one.id != assignment_id for one in services.store.shifts.assignments()):
        raise HTTPException(404, "Not found.")
    services.store.shifts.unassign(assignment_id)
    return Response(status_code=204)


def _known(services: Services, name: str) -> Shift:
    shift = next((one for one in services.store.shifts.all() if one.name == name), None)
    if shift is None:
        raise HTTPException(404, "Not found.")
    return shift


def _shift(new: ShiftBody) -> Shift:
    start, end = as_time(new.start), as_time(new.end)
    assert start is not None
    assert end is not None
    rules = {name: getattr(new, name) for name in SHIFT_RULES}
    starts_at = as_time(new.workday_starts_at)
    return Shift(
        name=new.name, start=start, end=end, weekdays=tuple(new.weekdays), workday_starts_at=starts_at, **rules
    )


def _answer(one: Shift) -> dict[str, Any]:
    times = {name: clock_text(getattr(one, name)) for name in ("start", "end", "workday_starts_at")}
    return {
        "name": one.name,
        "weekdays": list(one.weekdays),
        **times,
        **{name: getattr(one, name) for name in SHIFT_RULES},
    }


def _assigned(one: Assignment, ids: dict[str, int | None]) -> dict[str, Any]:
    return {
        "id": one.id,
        "shift": one.shift,
        "user_id": one.target.user_id,
        "site": one.target.site,
        "device": None if one.target.device is None else ids.get(one.target.device),
        "device_name": one.target.device,
        "valid_from": one.valid_from,
        "valid_to": one.valid_to,
    }
