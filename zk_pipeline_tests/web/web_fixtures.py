"""Fixtures of page tests: a served home, and pages opened in Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from zk_pipeline.config.settings import VARIABLES, load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.api_tokens import Scope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import RunsInProcess, Served, serve
from zk_pipeline_tests.plain_http import NO_CERTIFICATES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page

LOOKS = [(390, True), (1440, False), (390, False), (1440, True), (768, True), (768, False)]  # width, dark
AXE_EVERY = 4  # axe takes half a second: by default on each fourth page, on a phone; on each in the stress tests
CHECKS = (Path(__file__).parent / "page_checks.js").read_text()
_AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
_RUN_AXE = """async () => (await axe.run(document, {resultTypes: ["violations"], preload: false})).violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.length} times, ${one.nodes[0].html.slice(0, 160)}`)"""


@dataclass(frozen=True)
class Web:
    """A served web admin with its store, and terminals that can be switched on."""

    served: Served
    store: Store
    fleet: Fleet

    @property
    def url(self) -> str:
        return self.served.url

    def cookie(self, scope: Scope) -> str:
        """The cookie of a new login with the token of this scope."""
        token = self.served.services.tokens.verify(self.served.tokens[scope])
        assert token is not None
        return self.served.services.sessions.begin(token.id)

    def client(self, scope: Scope | None = "admin") -> httpx.Client:
        """An HTTP client that is logged in and follows no redirects."""
        cookies = {"zk_session": self.cookie(scope)} if scope else {}
        return httpx.Client(base_url=self.url, cookies=cookies, timeout=60, verify=NO_CERTIFICATES)


@contextmanager
def serve_web(empty_home: Path, home: Path, environ: Mapping[str, str]) -> Iterator[Web]:
    """Serve a new home, exported to the environment until the end; `environ` has its settings.

    Runs are in this process; those in processes of their own are for api/test_api_actions.py.
    """
    shutil.copytree(empty_home, home)
    with pytest.MonkeyPatch.context() as patch, Fleet() as fleet:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in {"ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home), **environ}.items():
            patch.setenv(name, value)
        store = Store.at(home / "data" / "attendance.duckdb")
        with serve(load_settings(), store, Parts(actions=RunsInProcess())) as served:
            yield Web(served, store, fleet)


@dataclass(frozen=True)
class Visit:
    """A page in a window that earlier visits may have had. `complaints`: errors of the console and of scripts."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def look(self, *, width: int, dark: bool) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(media="null", color_scheme="dark" if dark else "light")


class Windows:
    """A window with scripts and one without, opened by the first visit: a new one costs half a second of CPU."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: dict[bool, Page] = {}

    def page(self, *, script: bool) -> Page:
        """The page, without the cookies of the visit before."""
        if script not in self._pages:
            page = self._browser.new_context(java_script_enabled=script).new_page()
            page.set_default_timeout(20_000)
            self._pages[script] = page
        page = self._pages[script]
        page.context.clear_cookies()
        return page


@contextmanager
def visit(
    web: Web,
    windows: Windows,
    path: str,
    *,
    scope: Scope | None = "admin",
    width: int = 1440,
    dark: bool = False,
    script: bool = True,
) -> Iterator[Visit]:
    page = windows.page(script=script)
    if scope:
        page.context.add_cookies([{"name": "zk_session", "value": web.cookie(scope), "url": web.url}])
    visited = Visit(page, web.url)

    def note_message(message: ConsoleMessage) -> None:
        _note(message, visited.complaints)

    def note_error(error: Error) -> None:
        visited.complaints.append(str(error))

    page.on("console", note_message)
    page.on("pageerror", note_error)
    try:
        visited.look(width=width, dark=dark)
        visited.go(path)
        yield visited
    finally:
        page.goto("about:blank")  # nothing of it asks the server any more
        page.remove_listener("console", note_message)
        page.remove_listener("pageerror", note_error)
    assert visited.complaints == []


def _note(message: ConsoleMessage, complaints: list[str]) -> None:
    # The status of a response is for the test to check.
    if message.type == "error" and "the server responded with a status of" not in message.text:
        complaints.append(message.text)


def axe_problems(page: Page) -> list[str]:
    """Serious and critical findings of axe-core on the page as it is shown."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    found: list[str] = page.evaluate(_RUN_AXE)
    return found


def screenshot(page: Page, name: str) -> None:
    """Save a screenshot if ZK_PIPELINE_SCREENSHOTS names a folder."""
    folder = os.environ.get("ZK_PIPELINE_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
