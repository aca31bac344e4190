"""Folder of the screenshots."""

from __future__ import annotations

import os
from pathlib import Path


def folder_of_screenshots(otherwise: Path) -> Path:
    """The folder that ZK_PIPELINE_SCREENSHOTS names."""
    chosen = os.environ.get("ZK_PIPELINE_SCREENSHOTS")
    folder = Path(chosen) if chosen else otherwise / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
