"""Sites: list and page with problems of terminals, presence and punches; problems and charts of a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.push.push_fixtures import adopt, push
from zk_pipeline_tests.store.store_fixtures import execute, ingest, minutes_ago, noon_device
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web


@pytest.fixture(scope="module")
def works(web: Web) -> Web:
    """A site with a terminal that is read and one that fails, and a terminal that pushes."""
    store, now = web.store, datetime.now(UTC)
    north, south = noon_device("North", site="Works"), noon_device("South gate", site="Works")
    store.devices.add(north)
    store.devices.add(south)
    ingest(store, "North", *minutes_ago(north, 130, 10), users=[("1001", 1, "Zoë", 0, 0)])
    ingest(store, "South gate", *minutes_ago(south, 70, user_id="1002"))
    execute(store, "UPDATE device_polls SET clock_drift_seconds = 95 WHERE device = 'South gate'")
    failure = FailedPoll("South gate", now, now, "unreachable", "connecting failed: no answer")
    store.punches.record_failures([failure], run_id=None)
    today = now.date()
    store.holidays.put([Holiday(day=today + timedelta(days=9), name="Founders' day", site="Works")])
    store.holidays.put([Holiday(day=today - timedelta(days=9), name="Past")])
    adopt(store, "Yard", "CJ0V1", family="A", record_count=9)
    push(store, ("1001", f"{today} 00:02"), name="Yard", serial="CJ0V1")
    return web


def test_the_list_of_sites_counts_their_terminals_and_problems(works: Web) -> None:
    with works.client("read") as reader:
        page = drawn(reader.get("/sites"))
    assert [row[:3] for row in page.cells[1:]] == [["Works", "1 of 2 read", "2"], ["Yard", "1 of 1 read", "none"]]
    assert page.cells[1][3] == "2"


def test_the_page_of_a_site_has_its_problems_with_remedies_and_todays_people(works: Web) -> None:
    with works.client("read") as reader:
        answer = reader.get("/sites/site?site=Works")
        assert reader.get("/sites/site?site=Work").status_code == 404
    page = drawn(answer)
    text = " ".join(page.text.split())
    assert page.links["South gate is not read"] == page.links["South gate"] == "/devices/2"
    assert "[unreachable] connecting failed: no answer" in text
    assert "The clock of South gate is wrong" in text
    assert "<code>zk-pipeline device set-clock &#39;South gate&#39;</code>" in answer.text
    assert "1 in now" in text
    assert "Founders' day" in text
    assert "Past" not in text
    assert "<title>Punches per hour today</title><desc>Total 3;" in answer.text
    assert "of North is" not in text


def test_the_page_of_a_terminal_has_its_problems_and_charts(works: Web) -> None:
    with works.client("read") as reader:
        polled, pushing = reader.get("/devices/2").text, reader.get("/devices/3").text
    assert "South gate is not read" in polled
    assert "Clock drift, 90 days, below zero: slow" in polled
    assert "Total 1; highest 1" in polled  # polls that succeeded
    assert "failed 1." in polled
    assert "Uploads per day" not in polled
    assert "<title>Uploads per day, 30 days</title><desc>Total 1;" in pushing
    assert "Open problems" not in pushing
