"""Headless Chromium of Debian, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The headless shell takes a seventh less CPU time for the pages of the web admin than the whole browser.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium in PATH (Debian: apt-get install chromium-headless-shell)"
)
_QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
_FEW_PROCESSES = ["--disable-gpu", "--in-process-gpu", "--no-zygote", "--renderer-process-limit=1"]


@contextmanager
def launch_chromium(*arguments: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-quic", *_FEW_PROCESSES, *_QUIET, *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def chromium_page(*arguments: str) -> Iterator[Page]:
    with launch_chromium(*arguments) as browser:
        yield browser.new_page(viewport={"width": 1600, "height": 1000})
