"""Words of `docs/naming.md` that the project no longer uses, for which the glossary has the field's term."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
GLOSSARY = CHECKOUT / "docs" / "naming.md"
# Migrations are history, and static files are those of other projects.
EXEMPT = {"CHANGELOG.md", "docs/naming.md", "zk_pipeline_tests/docs/test_retired_words.py", "uv.lock", "LICENSE"}
EXEMPT_FOLDERS = ("zk_pipeline/store/schema/migrations/", "zk_pipeline/web/static/", "zk_pipeline_tests/web/vendor/")
TEXT = {
    ".py",
    ".md",
    ".sql",
    ".html",
    ".js",
    ".css",
    ".toml",
    ".yaml",
    ".yml",
    ".example",
    ".sh",
    ".service",
    ".timer",
    ".conf",
    ".j2",
}


def retired_words() -> list[str]:
    table = GLOSSARY.read_text(encoding="utf-8").partition("| retired | write |")[2]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    return [word.strip() for row in rows for word in row.split(",")]


def word_pattern(*, in_names: bool) -> re.Pattern[str]:
    """Whole words, however they are wrapped; `in_names` also between underscores."""
    alternatives = "|".join(r"[\s_]+".join(map(re.escape, word.split())) for word in retired_words())
    edge = "[A-Za-z]" if in_names else r"\w"
    return re.compile(rf"(?<!{edge})(?:{alternatives})(?!{edge})", re.IGNORECASE)


def project_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    kept = [name for name in listed if name not in EXEMPT and not name.startswith(EXEMPT_FOLDERS)]
    return [CHECKOUT / name for name in kept if Path(name).suffix in TEXT and (CHECKOUT / name).is_file()]


def test_no_retired_word_is_used() -> None:
    names, prose = word_pattern(in_names=True), word_pattern(in_names=False)
    found = []
    for path in project_files():
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(CHECKOUT)
        pattern = names if name.parts[0] == "zk_pipeline" and path.suffix == ".py" else prose
        found += [f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}" for hit in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "in_names", "is_found"),
    [
        ("The operator is told.", False, True),
        ("kept for\n    ever", False, True),
        ("def is_told() -> bool:", False, False),
        ("def is_told() -> bool:", True, True),
        ("a toldness", True, False),
    ],
)
def test_a_retired_word_is_found_in_prose_and_in_names(text: str, in_names: bool, is_found: bool) -> None:
    assert bool(word_pattern(in_names=in_names).search(text)) == is_found


def test_the_glossary_lists_retired_words() -> None:
    assert {"told", "for ever", "nobody"} <= set(retired_words())
    assert len(retired_words()) > 20
