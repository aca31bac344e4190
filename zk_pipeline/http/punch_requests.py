"""Filters of requests of manual punches, for the API and the web admin."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zk_pipeline.http.fields import as_date
from zk_pipeline.http.pagination import DateText, PageParameters, Text
from zk_pipeline.store.work_dates.manual_punches import PunchRequestFilter


class PunchRequestParameters(PageParameters):
    """Filters of requests; dates are those of the wall clock."""

    decision: Literal["waiting", "approved", "rejected", "withdrawn", ""] | None = Field(
        None, description="Only requests that wait for a decision, or with this one"
    )
    user_id: Text = Field(None, description="Only this user")
    site: Text = Field(None, description="Only this site")
    start_date: DateText = Field(None, description="First date, such as 2026-11-01")
    end_date: DateText = Field(None, description="Last date, included")

    @property
    def wanted(self) -> PunchRequestFilter:
        return PunchRequestFilter(
            state=self.decision or None,
            user_id=self.user_id,
            site=self.site,
            first=as_date(self.start_date),
            last=as_date(self.end_date),
        )
