"""Headless Chromium, and the folder of its screenshots."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextmanager
def chromium_page(*arguments: str) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", *_QUIET, *arguments],
        )
        try:
            yield browser.new_page(viewport={"width": 1600, "height": 1000})
        finally:
            browser.close()


def folder_of_screenshots(otherwise: Path) -> Path:
    """The folder that ZK_PIPELINE_SCREENSHOTS names."""
    chosen = os.environ.get("ZK_PIPELINE_SCREENSHOTS")
    folder = Path(chosen) if chosen else otherwise / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
