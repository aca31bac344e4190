"""Running APIs: a shared one for tests that leave it unchanged, and one per test; a client for each scope."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from zk_pipeline.config.settings import VARIABLES, load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served, Stopwatch, serve
from zk_pipeline_tests.made_once import made_once
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process, store_at

DAYS = 40
FILE = "attendance.duckdb"


@pytest.fixture(scope="session")
def filled_file(empty_store_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with two users on forty days at the device North, whose id is 1."""
    return made_once(tmp_path_factory, "filled", lambda folder: _fill(folder / FILE, empty_store_file)) / FILE


def _fill(path: Path, empty_store_file: Path) -> None:
    store = store_at(Path(shutil.copyfile(empty_store_file, path)))
    store.devices.add(device("North"))
    days = [MONDAY + timedelta(days=number) for number in range(DAYS)]
    punches = [(*on(day, "09:00", "18:00"), *on(day, "05:00", user_id="1002")) for day in days]
    ingest(store, "North", *(punch for made in punches for punch in made))
    process(store, *days)


@pytest.fixture(scope="session")
def shared(
    empty_home: Path, filled_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Stopwatch]]:
    """An API on a copy of `filled_file`. Its actions do nothing."""
    home = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(empty_home, home)
    store = Store.at(Path(shutil.copyfile(filled_file, home / "data" / "attendance.duckdb")))
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("ZK_PIPELINE_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home))
        settings = load_settings()
        watch = Stopwatch()
        with serve(settings, store, Parts(actions=NothingToDo(), monotonic=watch)) as served:
            assert served.services.watch.newest(1) == []  # Dagster's instance is open: the variables are not needed
            patch.undo()
            yield served, watch


@pytest.fixture
def watch(shared: tuple[Served, Stopwatch]) -> Stopwatch:
    """The clock of the shared API."""
    return shared[1]


@pytest.fixture
def served(shared: tuple[Served, Stopwatch]) -> Served:
    """The shared API, with the login throttle of earlier tests expired."""
    served, watch = shared
    watch.now += 1000
    return served


@pytest.fixture
def admin(served: Served) -> Iterator[httpx.Client]:
    with served.client("admin") as client:
        yield client


@pytest.fixture
def stranger(served: Served) -> Iterator[httpx.Client]:
    with served.client(None) as client:
        yield client


@pytest.fixture
def filled(home_store: Store, filled_file: Path) -> Store:
    """A store of the test's own, a copy of `filled_file`."""
    shutil.copyfile(filled_file, home_store.database.path)
    return home_store


@pytest.fixture
def own(home: Path, home_store: Store) -> Iterator[Served]:  # noqa: ARG001 (exports the home)
    """An API of the test's own, on `home`."""
    with serve(load_settings(), home_store, Parts(actions=NothingToDo())) as served:
        yield served


@pytest.fixture
def added(admin: httpx.Client) -> Iterator[Any]:
    """Adds devices to the shared API, and removes them after the test."""
    made = []

    def add(name: str, **more: Any) -> dict[str, Any]:
        answer = admin.post("/api/devices/", json={"name": name, "ip_address": "192.0.2.10"} | more)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
        return dict(answer.json())

    yield add
    for number in made:
        assert admin.delete(f"/api/devices/{number}/").status_code in (204, 404)
