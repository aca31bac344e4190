"""Pages of the web admin, and previews in the Dagster UI, on a host in another zone than the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from zk_pipeline.defs.metadata import preview
from zk_pipeline_tests.host_zone import CLOCK_IN, CLOCK_OUT, SETTINGS, host_in_new_york, host_times, work_in_nairobi
from zk_pipeline_tests.store.store_fixtures import MONDAY
from zk_pipeline_tests.web.test_web_pages import paths
from zk_pipeline_tests.web.web_fixtures import Web, serve_web


@pytest.fixture(scope="module")
def web(empty_home: Path, tmp_path_factory: pytest.TempPathFactory, web_environ: Mapping[str, str]) -> Iterator[Web]:
    settings = {"ZK_PIPELINE_TIMEZONE": SETTINGS, **web_environ}
    with host_in_new_york(), serve_web(empty_home, tmp_path_factory.mktemp("web") / "home", settings) as served:
        work_in_nairobi(served.store)
        yield served


def test_no_page_shows_a_time_on_the_clock_or_with_the_zone_of_the_host(web: Web) -> None:
    with_punches = [
        f"/attendance/day?site=Plant&user_id=1001&date={MONDAY}",
        f"/attendance?start_date={MONDAY}",
        "/punches",
        f"/month?user_id=1001&month={MONDAY:%Y-%m}",
    ]
    asked = [path for path in paths() if not path.startswith("/shifts/edit")]
    with web.client() as client:
        pages = {path: client.get(path) for path in (*asked, *with_punches)}
    wrong = {path: found for path, page in pages.items() if (found := host_times(page.text))}
    assert wrong.keys() - {"/devices/1/edit", "/devices/new"} == set(), wrong  # those have a list of all zones
    for path in with_punches:
        assert CLOCK_IN in pages[path].text, path
        assert CLOCK_OUT in pages[path].text, path


def test_a_preview_in_the_dagster_ui_shows_instants_in_utc_and_wall_clocks_without_a_zone() -> None:
    at = datetime(2026, 3, 2, 5, 41, tzinfo=UTC)
    frame = pd.DataFrame({"punched_at_local": [pd.Timestamp(f"{MONDAY} {CLOCK_IN}")], "stored_at": [at]})
    with host_in_new_york():
        (record,) = preview(frame).records
    assert record.data == {"punched_at_local": "2026-03-02 08:41:00", "stored_at": "2026-03-02 05:41:00 UTC"}
