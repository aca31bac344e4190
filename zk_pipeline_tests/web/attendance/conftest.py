"""The web admin on the store of a small company; the CRM rejects two users while the store is prepared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.kept_open import stores_kept_open
from zk_pipeline_tests.made_once import made_once
from zk_pipeline_tests.web.attendance.attended import company
from zk_pipeline_tests.web.web_fixtures import Web, serve_web

TOKEN = "token-that-must-not-be-shown"


@pytest.fixture(scope="session")
def attended_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the store of `attended.company`, closed."""
    return made_once(tmp_path_factory, "attended", lambda folder: _fill_attended(folder / "home", empty_home)) / "home"


def _fill_attended(home: Path, empty_home: Path) -> None:
    shutil.copytree(empty_home, home)
    with CrmReceiver(token=TOKEN) as crm:
        settings = load_settings({"ZK_PIPELINE_HOME": str(home), "CRM_API_URL": crm.url, "CRM_API_TOKEN": TOKEN})
        with stores_kept_open():
            company(Store.at(settings.database_path), settings, crm)


@pytest.fixture(scope="module")
def receiver() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def web_environ(receiver: CrmReceiver) -> Mapping[str, str]:
    return {"CRM_API_URL": receiver.url, "CRM_API_TOKEN": TOKEN, "ZK_PIPELINE_UI_URL": "http://dagster.example"}


@pytest.fixture(scope="module")
def web(attended_home: Path, tmp_path_factory: pytest.TempPathFactory, web_environ: Mapping[str, str]) -> Iterator[Web]:
    with serve_web(attended_home, tmp_path_factory.mktemp("web") / "home", web_environ) as served:
        yield served


@pytest.fixture
def reader(web: Web) -> Iterator[httpx.Client]:
    with web.client("read") as client:
        yield client


@pytest.fixture
def approver(web: Web) -> Iterator[httpx.Client]:
    with web.client("approve") as client:
        yield client


@pytest.fixture
def operator(web: Web) -> Iterator[httpx.Client]:
    with web.client("operate") as client:
        yield client
