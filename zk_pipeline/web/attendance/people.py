"""List of people: users of all sites, with a search."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from zk_pipeline.http.pagination import Text
from zk_pipeline.http.services import Given
from zk_pipeline.store.queries.people import PeoplePage
from zk_pipeline.web.list_pages import ROWS_OF_A_PAGE, page_after
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
_PLACE = ("after_name", "after_user", "after_site")


class PeopleQuery(BaseModel):
    """Search and site. `after_…`: the last row of the page before."""

    model_config = ConfigDict(extra="forbid")

    q: Text = None
    site: Text = None
    after_name: Text = None
    after_user: Text = None
    after_site: Text = None

    @property
    def after(self) -> tuple[str, str, str] | None:
        if self.after_name is None or self.after_user is None or self.after_site is None:
            return None
        return self.after_name, self.after_user, self.after_site


@router.get("/people")
def people(request: Request, services: Given, identity: Reader) -> Response:
    found = page_after(
        request,
        PeopleQuery,
        lambda asked: services.store.people.page(
            text=asked.q or "", site=asked.site, after=asked.after, limit=ROWS_OF_A_PAGE
        ),
        empty=PeoplePage(0, [], has_more=False),
        place=_PLACE,
        following=lambda page: page.rows[-1].place if page.has_more else None,
    )
    sites = services.store.enrolled_users.around([]).sites
    return render(request, "people.html", identity, sites=sites, **found)
