"""`/api/presence/`: rows, filters, pages, and the readings of the terminals."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import ingest, minutes_ago, noon_device


@pytest.fixture
def client(own: Served) -> Iterator[httpx.Client]:
    with own.client("read") as client:
        yield client


def test_presence_has_a_row_for_each_user_of_today(client: httpx.Client, home_store: Store) -> None:
    assert client.get("/api/presence/").json()["results"] == []
    gate = home_store.devices.add(noon_device("Gate", site="Plant"))
    home_store.devices.add(noon_device("Quay"))
    punches = [*minutes_ago(gate, 20, user_id="1"), *minutes_ago(gate, 20, 10, user_id="2")]
    ingest(home_store, "Gate", *punches, users=[("1", 1, "Zoë", 0, 0), ("2", 2, "Ali", 0, 0)])
    page = client.get("/api/presence/").json()
    assert page.keys() == {"count", "next", "previous", "results", "as_of", "sites"}
    row = page["results"][0]
    assert row == row | {
        "site": "Plant", "user_id": "1", "name": "Zoë", "direction": "in", "device": "Gate",
        "last_punch_local": punches[0][1].replace(" ", "T"),
    }  # fmt: skip
    assert row["last_punch_at"].endswith("Z")
    assert [one["direction"] for one in page["results"]] == ["in", "out"]
    plant, quay = page["sites"]
    assert plant == plant | {"site": "Plant", "present": 1, "left": 1, "is_safe": True}
    assert (quay["is_safe"], quay["terminals"][0]["last_read_at"]) == (False, None)
    assert [one["user_id"] for one in client.get("/api/presence/?direction=out&site=Plant").json()["results"]] == ["2"]
    second = client.get(client.get("/api/presence/?page_size=1").json()["next"]).json()
    assert (second["count"], [one["user_id"] for one in second["results"]]) == (2, ["2"])
    assert client.get("/api/presence/?site=Nowhere").json()["sites"] == []
    for wrong in ("direction=up", "sight=Plant", "page=9"):
        assert client.get(f"/api/presence/?{wrong}").status_code in (400, 404), wrong
