"""Presence of users by site; docs/attendance.md has the rule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from zk_pipeline.api.responses import FAILURES
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.pagination import PageOf, PageParameters, Text, numbered_page
from zk_pipeline.http.services import Given

router = APIRouter(prefix="/api", tags=["attendance"], responses=FAILURES)


class PresenceRow(BaseModel):
    """A user with a punch on the current work date."""

    model_config = ConfigDict(from_attributes=True)

    site: str = Field(description="Site of the last punch; a user is at one site only")
    user_id: str
    name: str = Field(description="Name as enrolled last at the site; empty without one")
    direction: Literal["in", "out"] = Field(description="Direction of the last punch; `in`: the user is in")
    device: str = Field(description="Device of the last punch")
    last_punch_at: datetime = Field(description="Instant of the last punch (UTC)")
    last_punch_local: Annotated[str, Field(description="Wall clock of the last punch at the device")]


class ReadingRow(BaseModel):
    """An enabled device and its last successful poll."""

    model_config = ConfigDict(from_attributes=True)

    device: str
    timezone: str
    last_read_at: datetime | None = Field(description="Instant (UTC); null if it was never read")
    is_outdated: bool = Field(description="It was not read for an hour: the presence of its site is not safe")


class SitePresence(BaseModel):
    """Totals of one site."""

    site: str
    present: int = Field(description="Users who are in")
    left: int = Field(description="Users whose last punch is out")
    is_safe: bool = Field(description="Every enabled device of the site was read within the last hour")
    terminals: list[ReadingRow]


class PresencePage(PageOf[PresenceRow]):
    """One page of users, and the sites with the readings of their devices."""

    as_of: datetime
    sites: list[SitePresence]


class PresenceParameters(PageParameters):
    """Filters of users."""

    site: Text = Field(None, description="Only this site")
    direction: Literal["in", "out", ""] | None = Field(None, description="Only users who are in, or who left")


@router.get("/presence/", response_model=PresencePage)
def presence(
    request: Request, services: Given, _: Reader, query: Annotated[PresenceParameters, Query()]
) -> dict[str, Any]:
    """Present users: those with a punch on the current work date, by site, those who are in first."""
    muster = services.store.muster.read(
        services.clock(), debounce_seconds=services.settings.debounce_seconds, site=query.site
    )
    rows = [
        {**vars(one), "last_punch_local": one.last_punch_local.isoformat()}
        for one in muster.people()
        if query.direction in (None, "", one.direction)
    ]
    page = numbered_page(request, query, len(rows), rows[query.offset : query.offset + query.size])
    return page | {"as_of": muster.as_of, "sites": [one.totals for one in muster.sites]}
