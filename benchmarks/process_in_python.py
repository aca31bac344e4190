"""Processing as in other bridges: one user and day at a time, by the rules of `WorkRules()`. No measurement here.

An ORM that queries the punches of each user and day (SQLAlchemy, a dependency of Dagster, on SQLite), the same loop
without a database, and pandas' groupby.apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from zk_pipeline.store.store import Store


@dataclass(frozen=True)
class Punch:
    site: str
    user_id: str
    at: datetime
    local: datetime
    device: str
    timezone: str


@dataclass(frozen=True)
class Day:
    site: str
    user_id: str
    work_date: date
    clock_in: datetime
    clock_out: datetime | None
    punch_count: int
    codes: str
    reason: str


def day_of(work_date: date, punches: Sequence[Punch]) -> Day:
    """The attendance day of one user from the ordered punches of a past date."""
    first, last, count, before = punches[0], punches[-1], 0, None
    for punch in punches:
        count += before is None or (punch.at - before).total_seconds() >= 60
        before = punch.at
    midnight = datetime(work_date.year, work_date.month, work_date.day, tzinfo=ZoneInfo(first.timezone))
    starts, ends = midnight.replace(hour=9), midnight.replace(hour=18)
    found = []
    if first.at < starts - timedelta(hours=2):
        found.append(("CLOCK_IN_TOO_EARLY", f"Clock-in {_wall(first.local, 7)}, more than 2 h before 09:00"))
    if first.at > starts + timedelta(hours=2):
        found.append(("CLOCK_IN_TOO_LATE", f"Clock-in {_wall(first.local, 11)}, more than 2 h after 09:00"))
    if count > 1 and last.at < ends - timedelta(hours=2):
        found.append(("CLOCK_OUT_TOO_EARLY", f"Clock-out {_wall(last.local, 16)}, more than 2 h before 18:00"))
    if count > 1 and last.at > ends + timedelta(hours=3):
        found.append(("CLOCK_OUT_TOO_LATE", f"Clock-out {_wall(last.local, 21)}, more than 3 h after 18:00"))
    if count == 1:
        found.append(("MISSING_CLOCK_OUT", f"No clock-out after the punch at {first.local:%H:%M}"))
    return Day(
        first.site,
        first.user_id,
        work_date,
        first.at,
        last.at if count > 1 else None,
        count,
        " ".join(code for code, _ in found),
        "; ".join(reason for _, reason in found),
    )


def _wall(local: datetime, bound: int) -> str:
    return f"{local:%H:%M:%S}" if (local.hour, local.minute) == (bound, 0) else f"{local:%H:%M}"


def punches_of(store: Store, dates: Sequence[date]) -> list[Punch]:
    """Punches ordered by site, user and time."""
    with store.database.read("punches") as connection:
        rows = connection.execute(
            """
            SELECT device.site, user_id, punched_at, punched_at_local, device.name, device.timezone
            FROM raw_punches JOIN devices AS device ON device.name = raw_punches.device
            WHERE list_contains(?, punched_at_local::DATE) ORDER BY 1, 2, 3, 5
            """,
            [list(dates)],
        ).fetchall()
    return [Punch(*row) for row in rows]


def plain_loop(punches: Iterable[Punch]) -> Iterator[Day]:
    """Compute days from ordered punches in memory."""
    for (_, _, day), group in groupby(punches, lambda punch: (punch.site, punch.user_id, punch.local.date())):
        yield day_of(day, list(group))


def grouped(punches: Sequence[Punch]) -> list[Day]:
    """Compute days with pandas' groupby.apply."""
    frame = pd.DataFrame(punches)
    names = list(frame.columns)
    frame["work_date"] = frame["local"].dt.date

    def one(group: pd.DataFrame) -> Day:
        return day_of(group["work_date"].iloc[0], [Punch(*row) for row in group[names].itertuples(index=False)])

    days = frame.groupby(["site", "user_id", "work_date"])[[*names, "work_date"]]
    return list(days.apply(one))  # type: ignore[call-overload] # any object will do


class Base(DeclarativeBase):
    pass


class PunchRow(Base):
    __tablename__ = "punches"
    __table_args__ = (Index("by_user_and_time", "user_id", "local"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str]
    user_id: Mapped[str] = mapped_column(String(24))
    at: Mapped[datetime]
    local: Mapped[datetime]
    device: Mapped[str]
    timezone: Mapped[str]


class DayRow(Base):
    __tablename__ = "days"
    __table_args__ = (UniqueConstraint("user_id", "work_date"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(24))
    work_date: Mapped[date]
    punch_id: Mapped[int] = mapped_column(ForeignKey("punches.id"))
    clock_in: Mapped[datetime]
    clock_out: Mapped[datetime | None]
    is_outlier: Mapped[bool]
    outlier_reason: Mapped[str]


def orm_store(path: Path, punches: Sequence[Punch]) -> Session:
    """A SQLite file with the punches, indexed by user and time."""
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    session = Session(engine)
    session.execute(insert(PunchRow), [vars(punch) for punch in punches])
    session.commit()
    return session


def orm_loop(session: Session, users: Sequence[str], dates: Sequence[date]) -> int:
    """A query for the punches of each user and day, another for its row, and a commit; the number of rows."""
    made = 0
    for user_id in users:
        for day in dates:
            begin = datetime.combine(day, datetime.min.time())
            wanted = (
                select(PunchRow)
                .where(PunchRow.user_id == user_id, PunchRow.local >= begin, PunchRow.local < begin + timedelta(days=1))
                .order_by(PunchRow.local)
            )
            rows: Any = session.scalars(wanted).all()
            if not rows:
                continue
            found = day_of(day, [_punch(row) for row in rows])
            row = session.scalar(select(DayRow).where(DayRow.user_id == user_id, DayRow.work_date == day))
            if row is None:
                row = DayRow(user_id=user_id, work_date=day)
                session.add(row)
            row.punch_id, row.clock_in, row.clock_out = rows[0].id, found.clock_in, found.clock_out
            row.is_outlier, row.outlier_reason = bool(found.codes), found.reason
            session.commit()
            made += 1
    return made


def _punch(row: PunchRow) -> Punch:
    # SQLite does not store zones.
    return Punch(row.site, row.user_id, row.at.replace(tzinfo=ZoneInfo("UTC")), row.local, row.device, row.timezone)
