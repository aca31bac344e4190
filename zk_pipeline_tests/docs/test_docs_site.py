"""Documentation site: builds without warnings, loads nothing from other hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from zk_pipeline_tests.docs.pages import CHECKOUT

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc="?([^"\s>]+)|<link\b(?![^>]*rel="?canonical)[^>]*?\bhref="?([^"\s>]+)"""
)


def build(folder: Path, config: Path = CHECKOUT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(config),
        "--site-dir",
        str(folder),
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    pages = [*(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "benchmarks").glob("*.md")]
    assert len(list(site.rglob("index.html"))) == len(pages) + len(["CHANGELOG", "CONTRIBUTING"])
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    loaded = {
        address
        for file in [*site.rglob("*.html")]
        for found in LOADED.findall(file.read_text(encoding="utf-8"))
        for address in found
        if address
    }
    assert len(loaded) > 5
    assert sorted(address for address in loaded if urlsplit(address).netloc) == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert re.findall(r"""(?:url\(|@import )["']?(?:https?:)?//[^)"']+""", styles) == []


def test_tables_code_and_lists_are_drawn_as_such(site: Path) -> None:
    settings = (site / "settings" / "index.html").read_text(encoding="utf-8")
    assert "<td><code>CRM_BATCH_SIZE</code></td>" in settings
    for file in site.rglob("index.html"):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        # A table, a list or a fence that Markdown took for a paragraph.
        assert re.findall(r"<p>(?:[^<]*\n)?(?:\||- |\d+\. |```)[^<]*", text) == [], file


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[away](nowhere.md)\n", encoding="utf-8")
    config = "site_name: x\nINHERIT: mkdocs.yml\n".replace("mkdocs.yml", str(CHECKOUT / "mkdocs.yml"))
    folder = f"docs_dir: {tmp_path / 'docs'}\nhooks: []\nnav: [index.md]\n"
    (tmp_path / "mkdocs.yml").write_text(config + folder, encoding="utf-8")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert "nowhere.md" in done.stdout + done.stderr
