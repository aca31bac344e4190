"""List of people: users of all sites, with a search."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.pagination import Text
from zk_pipeline.http.services import Given
from zk_pipeline.store.queries.people import PeoplePage
from zk_pipeline.web.list_pages import ROWS_OF_A_PAGE, address, parse_query
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)


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
    typed = {name: value for name, value in request.query_params.items() if value}
    page, problem, is_first = PeoplePage(0, [], has_more=False), None, True
    try:
        asked = parse_query(request, PeopleQuery)
        is_first = asked.after is None
        page = services.store.people.page(text=asked.q or "", site=asked.site, after=asked.after, limit=ROWS_OF_A_PAGE)
    except UsageError as error:
        problem = str(error)
    filters = {name: value for name, value in typed.items() if name in ("q", "site")}
    return render(
        request,
        "people.html",
        identity,
        status=400 if problem else 200,
        typed=typed,
        problem=problem,
        page=page,
        first_page=None if is_first else address("/people", **filters),
        next_page=_after(page, filters) if page.has_more else None,
        sites=services.store.enrolled_users.around([]).sites,
    )


def _after(page: PeoplePage, filters: dict[str, str]) -> str:
    name, user, site = page.rows[-1].place
    return address("/people", **filters, after_name=name, after_user=user, after_site=site)
