"""Reviews of outliers over HTTP."""

from __future__ import annotations

import httpx

from zk_pipeline.store.api_tokens import Scope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import execute

DAYS = "/api/processed-attendance"


def test_an_unusual_day_is_reviewed_by_the_token_that_says_so(served: Served, admin: httpx.Client) -> None:
    store: Store = served.services.store
    day = admin.get(f"{DAYS}/outliers/?is_reviewed=false").json()["results"][0]
    address = f"{DAYS}/{day['id']}/reviews/"
    assert admin.get(address).json() == []
    permitted: dict[Scope, int] = {"read": 403, "operate": 409, "approve": 409}
    for scope, status in permitted.items():
        with served.client(scope) as client:
            assert client.post(address, json={"revision": day["revision"] + 1}).status_code == status

    changed = admin.post(address, json={"revision": day["revision"] + 1})
    assert (changed.status_code, changed.json()["detail"]) == (
        409,
        f"revision: the day now has revision {day['revision']}",
    )
    for body, words in (
        ({}, "revision: "),
        ({"revision": 0}, "revision: "),
        ({"revision": 1, "note": "x" * 501}, "note: "),
        ({"revision": 1, "is_reviewed": "no"}, "is_reviewed: "),
        ({"revision": 1, "by": "me"}, "by: "),
    ):
        refused = admin.post(address, json=body)
        assert (refused.status_code, refused.json()["detail"].startswith(words)) == (400, True), refused.text
    assert admin.post(f"{DAYS}/999999/reviews/", json={"revision": 1}).status_code == 404
    assert admin.get(f"{DAYS}/999999/reviews/").status_code == 404

    made = admin.post(address, json={"revision": day["revision"], "note": "agreed"})
    assert made.status_code == 201
    assert made.json() | {"revision": day["revision"], "is_reviewed": True, "note": "agreed"} == made.json()
    assert admin.get(address).json() == [made.json()]
    assert made.json()["reviewed_by"] == "test admin"
    ids = [one["id"] for one in admin.get(f"{DAYS}/?is_reviewed=true").json()["results"]]
    assert ids == [day["id"]]
    assert day["id"] not in [one["id"] for one in admin.get(f"{DAYS}/outliers/?is_reviewed=false").json()["results"]]
    execute(store, "DELETE FROM day_reviews")


def test_a_day_that_is_not_unusual_has_nothing_to_review(admin: httpx.Client) -> None:
    ordinary = admin.get(f"{DAYS}/?is_outlier=false").json()["results"][0]
    answer = admin.post(f"{DAYS}/{ordinary['id']}/reviews/", json={"revision": ordinary["revision"]})
    assert (answer.status_code, answer.json()["detail"]) == (409, "the day is not an outlier")
