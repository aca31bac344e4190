"""Filters of leaves, for the API and the web admin."""

from __future__ import annotations

from pydantic import Field

from zk_pipeline.http.fields import as_date
from zk_pipeline.http.pagination import DateText, PageParameters, Text
from zk_pipeline.store.shifts.leaves import LeaveFilter


class LeaveParameters(PageParameters):
    """Filters of leaves; dates are work dates."""

    user_id: Text = Field(None, description="Only this user")
    site: Text = Field(None, description="Only leaves that apply at this site")
    start_date: DateText = Field(None, description="Only leaves with a date from here on")
    end_date: DateText = Field(None, description="Only leaves with a date up to here, included")

    def wanted(self, *, removed: bool = False) -> LeaveFilter:
        return LeaveFilter(
            user_id=self.user_id,
            site=self.site,
            first=as_date(self.start_date),
            last=as_date(self.end_date),
            removed=removed,
        )
