"""Shifts, their assignments and seasons; docs/attendance.md has the rules, `holidays` the days off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.responses import FAILURES
from zk_pipeline.attendance.assignment_changes import AssignmentsRefused
from zk_pipeline.attendance.rotations import Rotation
from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import SHIFT_RULES, Assignment, Season, Shift, Target
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
SeasonId = Annotated[int, Path(ge=1, le=2**31 - 1)]
DeviceIds = dict[str, int | None]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ShiftBody(_Body):
    """Named working hours; null fields are taken from the settings."""

    name: Name
    start: Clock | None = Field(None, description="May be null without weekdays only")
    end: Clock | None = Field(None, description="Before start: overnight; equal: 24 hours; null as start")
    weekdays: list[Weekday] = Field(
        list(get_args(Weekday)), description="Others are days off; an off shift has no weekdays"
    )
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


class _Change(_Body):
    replace: bool = Field(False, description="Replace the targets' other assignments on these work dates")
    dry_run: bool = Field(False, description="Answer the changes only")


class BulkBody(_Change):
    """Assignments to store, all or none."""

    assignments: list[AssignmentBody] = Field(min_length=1)


class RotationBody(_Change):
    """A repeated pattern of shifts for a user (with a site: only there), a device, or a site."""

    pattern: str = Field(
        min_length=1, max_length=1000, description="Shifts with their number of dates: early*2 late*2 off*2"
    )
    user_id: UserId | None = None
    site: Name | None = None
    device: Id | None = Field(None, description="Its id")
    valid_from: Date = Field(description="First work date")
    valid_to: Date = Field(description="Last work date")
    start_at: int = Field(1, ge=1, le=2**31 - 1, description="Date of the pattern with which it starts")


class SeasonBody(_Body):
    """Work dates on which a shift applies in place of another, wherever that one is assigned."""

    shift: Name
    use: Name = Field(description="Shift that applies in its place")
    valid_from: Date = Field(description="First work date")
    valid_to: Date = Field(description="Last work date")


class SeasonAnswer(BaseModel):
    """A stored season."""

    id: int
    shift: str
    use: str
    valid_from: date
    valid_to: date


class AssignmentAnswer(BaseModel):
    """A stored assignment."""

    id: int | None = Field(description="Null in a dry run only")
    shift: str
    user_id: str | None
    site: str | None
    device: int | None = Field(description="Its id")
    device_name: str | None
    valid_from: date | None
    valid_to: date | None


class ChangesAnswer(BaseModel):
    """Changes of assignments; one that is cut is removed, and its remaining parts are added."""

    added: list[AssignmentAnswer]
    removed: list[AssignmentAnswer]
    unchanged: int


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
    ids = _device_ids(services)
    return [_assigned(one, ids) for one in services.store.shifts.assignments()]


@router.post("/shift-assignments/", response_model=AssignmentAnswer, status_code=201)
def assign(services: Given, _: Admin, new: AssignmentBody) -> dict[str, Any]:
    """Assign a shift to a user, a device or a site. Assignments of users come before those of devices, then sites."""
    ids = _device_ids(services)
    return _assigned(services.store.shifts.assign(_assignment(new, ids)), ids)


@router.post("/shift-assignments/bulk/", response_model=ChangesAnswer)
def assign_all(services: Given, _: Admin, new: BulkBody) -> dict[str, Any]:
    """Store assignments, all or none; those that are stored already stay unchanged."""
    return _change(services, new, lambda ids: [_assignment(one, ids) for one in new.assignments])


@router.post("/shift-assignments/rotate/", response_model=ChangesAnswer)
def rotate(services: Given, _: Admin, new: RotationBody) -> dict[str, Any]:
    """Assign a repeated pattern of shifts: one assignment for each span of dates with one shift, all or none."""
    first, last = as_date(new.valid_from), as_date(new.valid_to)
    assert first is not None
    assert last is not None

    def expand(ids: DeviceIds) -> list[Assignment]:
        target = _target(new, ids)
        return Rotation(
            pattern=new.pattern, target=target, valid_from=first, valid_to=last, start_at=new.start_at
        ).expand()

    return _change(services, new, expand)


@router.delete("/shift-assignments/{assignment_id}/", status_code=204)
def unassign(services: Given, _: Admin, assignment_id: AssignmentId) -> Response:
    """Remove an assignment; the next processing run reprocesses its attendance days."""
    if all(one.id != assignment_id for one in services.store.shifts.assignments()):
        raise HTTPException(404, "Not found.")
    services.store.shifts.unassign(assignment_id)
    return Response(status_code=204)


@router.get("/shift-seasons/", response_model=list[SeasonAnswer])
def seasons(services: Given, _: Reader) -> list[Season]:
    """All seasons, by shift and time."""
    return services.store.shifts.seasons()


@router.post("/shift-seasons/", response_model=SeasonAnswer, status_code=201)
def add_season(services: Given, _: Admin, new: SeasonBody) -> Season:
    """Use another shift in place of a shift between two dates, wherever it is assigned, such as Ramadan hours."""
    first, last = as_date(new.valid_from), as_date(new.valid_to)
    assert first is not None
    assert last is not None
    return services.store.shifts.add_season(Season(shift=new.shift, use=new.use, valid_from=first, valid_to=last))


@router.delete("/shift-seasons/{season_id}/", status_code=204)
def remove_season(services: Given, _: Admin, season_id: SeasonId) -> Response:
    """Remove a season; the next processing run reprocesses its attendance days."""
    if all(one.id != season_id for one in services.store.shifts.seasons()):
        raise HTTPException(404, "Not found.")
    services.store.shifts.remove_season(season_id)
    return Response(status_code=204)


def _device_ids(services: Services) -> DeviceIds:
    return {one.name: one.id for one in services.store.devices.all()}


def _target(new: AssignmentBody | RotationBody, ids: DeviceIds) -> Target:
    name = next((name for name, number in ids.items() if number == new.device), None)
    if new.device is not None and name is None:
        raise UsageError(f"device: there is none with the id {new.device}")
    return Target(user_id=new.user_id, site=new.site, device=name)


def _assignment(new: AssignmentBody, ids: DeviceIds) -> Assignment:
    return Assignment(
        shift=new.shift,
        target=_target(new, ids),
        valid_from=as_date(new.valid_from),
        valid_to=as_date(new.valid_to),
    )


def _change(services: Services, new: _Change, wanted: Callable[[DeviceIds], list[Assignment]]) -> dict[str, Any]:
    ids = _device_ids(services)
    try:
        changes = services.store.shifts.assign_all(wanted(ids), replace_overlaps=new.replace, dry_run=new.dry_run)
    except AssignmentsRefused as error:
        named = "; ".join(f"assignment {index + 1}: {problem}" for index, problem in error.problems.items())
        raise UsageError(named) from None
    added, removed = ([_assigned(one, ids) for one in some] for some in (changes.added, changes.removed))
    return {"added": added, "removed": removed, "unchanged": len(changes.unchanged)}


def _known(services: Services, name: str) -> Shift:
    shift = next((one for one in services.store.shifts.all() if one.name == name), None)
    if shift is None:
        raise HTTPException(404, "Not found.")
    return shift


def _shift(new: ShiftBody) -> Shift:
    times = {name: as_time(getattr(new, name)) for name in ("start", "end", "workday_starts_at")}
    rules = {name: getattr(new, name) for name in SHIFT_RULES}
    return Shift.of(new.name, {"weekdays": tuple(new.weekdays), **times, **rules})


def _answer(one: Shift) -> dict[str, Any]:
    times = {name: clock_text(getattr(one, name)) for name in ("start", "end", "workday_starts_at")}
    return {
        "name": one.name,
        "weekdays": list(one.weekdays),
        **times,
        **{name: getattr(one, name) for name in SHIFT_RULES},
    }


def _assigned(one: Assignment, ids: DeviceIds) -> dict[str, Any]:
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
