"""The web admin served from a home with emulated terminals, and one Chromium per module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from zk_pipeline_tests.chromium import launch_chromium, needs_chromium
from zk_pipeline_tests.web.web_fixtures import Visit, Web, Windows, serve_web, visit

Open = Callable[..., Visit]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use the browser; skip them if no Chromium is installed."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()) and Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
            item.add_marker(needs_chromium)


@pytest.fixture(scope="module")
def web_environ() -> Mapping[str, str]:
    """Environment variables of the module's server; a module may override them."""
    return {}


@pytest.fixture(scope="module")
def web(empty_home: Path, tmp_path_factory: pytest.TempPathFactory, web_environ: Mapping[str, str]) -> Iterator[Web]:
    with serve_web(empty_home, tmp_path_factory.mktemp("web") / "home", web_environ) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Windows]:
    # Not for the whole session: while it lives, nothing else in its thread can use asyncio.
    with launch_chromium() as browser:
        yield Windows(browser)


@pytest.fixture
def open_page(web: Web, browser: Windows) -> Iterator[Open]:
    """`open_page(path, scope="admin", width=1440, dark=False, script=True)`: the page, logged in with that scope.

    A page that fails in a script, or that breaks its Content-Security-Policy, fails the test.
    """
    with ExitStack() as exits:
        yield lambda path="/", **how: exits.enter_context(visit(web, browser, path, **how))
