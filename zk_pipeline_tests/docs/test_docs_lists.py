"""Completeness of the lists in the pages: generated tables, findings of doctor, settings and links."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest

from zk_pipeline.attendance.rules import OutlierCode
from zk_pipeline.cli.instance import doctor as doctor_command
from zk_pipeline.config.settings import VARIABLES, Settings
from zk_pipeline.defs.automation.alert_sensors import KINDS
from zk_pipeline.defs.instance import requirements
from zk_pipeline.operations import doctor as home_doctor
from zk_pipeline.operations.alerting import problems
from zk_pipeline.store.quality import doctor as store_doctor
from zk_pipeline.store.quality.integrity_rules import PER_SPAN, WHOLE
from zk_pipeline_tests.docs.pages import CHECKOUT, PAGES, code_in_text, first_column, text_of
from zk_pipeline_tests.docs.reference import (
    MISSING,
    TABLES,
    default_settings,
    every_problem,
    example_sections,
    main,
    page_with,
)

EXPORTED_ONLY = {"ZK_PIPELINE_HOME", "DAGSTER_HOME"}
OTHERS = {
    "GATE_KEY",  # an example
    "READ_ONLY",  # a keyword of SQL
    "FORWARDED_ALLOW_IPS",  # of uvicorn
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"),  # of many programs
}
NAMES_OF_CODE = {"LOG_LAYOUTS"}  # for contributors


@pytest.fixture(scope="session")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return default_settings(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("name", TABLES)
def test_a_generated_table_matches_the_code(name: str, defaults: Settings) -> None:
    page = text_of(TABLES[name].page)
    wanted = page_with(name, page, defaults)
    assert page == wanted, "write it by `python -m zk_pipeline_tests.docs.reference`"


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.kept])
def test_each_row_of_a_generated_table_has_its_cells_written_by_hand(name: str) -> None:
    assert MISSING not in text_of(TABLES[name].page)


def test_no_page_has_a_generated_table_that_nothing_generates() -> None:
    marked = [(page, name) for page in PAGES for name in re.findall(r"<!-- generated: (.+?) -->", text_of(page))]
    assert sorted(marked) == sorted((table.page, name) for name, table in TABLES.items())


def test_a_cell_written_by_hand_stays_when_the_code_changes(defaults: Settings) -> None:
    page = text_of("operating.md")
    stale = page.replace("| `daemon` | critical |", "| `daemon` | minor |").replace(
        "| `crm:dead_letters` |", "| `crm:gone` |"
    )
    assert stale != page
    written = page_with("alerts", stale, defaults)
    lines = set(page.splitlines()) - set(written.splitlines())
    assert [line.split(" | ")[0] for line in lines] == ["| `crm:dead_letters`"]  # a new row: its cells must be written
    assert f"| `crm:dead_letters` | warning | {MISSING} | {MISSING} | {MISSING} |" in written
    assert "crm:gone" not in written


def test_the_command_compares_without_writing() -> None:
    assert main(["--check"]) == 0


def test_every_kind_of_alert_is_in_the_table() -> None:
    made = every_problem()
    makers = {
        name
        for name, function in inspect.getmembers(problems, inspect.isfunction)
        if not name.startswith("_") and "Problem" in str(inspect.signature(function).return_annotation)
    }
    assert set(made) == makers
    assert {one.kind for found in made.values() for one in found} == set(KINDS)


def findings() -> Iterator[str]:
    """Names of all findings, from the code that creates them."""
    for module in (home_doctor, store_doctor, doctor_command, requirements):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                name = node.args[1]
                if isinstance(name, ast.Constant):
                    yield str(name.value)
    yield from (rule.name for rule in (*WHOLE, *PER_SPAN))


def test_every_finding_of_doctor_is_explained_and_no_other() -> None:
    assert sorted(first_column("operating.md", "Findings of doctor")) == sorted(set(findings()))


def test_every_setting_is_in_the_example_with_its_meaning_and_no_other() -> None:
    shown = [one for section in example_sections().values() for one in section]
    assert sorted(name for name, _, _ in shown) == sorted([*VARIABLES, "ZK_PIPELINE_HOME"])
    assert [name for name, _, meaning in shown if not meaning] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_setting_that_a_page_names_exists(page: str) -> None:
    tokens = {word for code in code_in_text(page) for word in re.split(r"[^A-Z0-9_]", code)}
    named = {word for word in tokens if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", word)}
    known = {*VARIABLES, *EXPORTED_ONLY, *OTHERS, *NAMES_OF_CODE, *(code.value for code in OutlierCode)}
    assert named <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_have_targets(page: str) -> None:
    folder = PAGES[page].parent
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        file = folder / name if name else PAGES[page]
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, target


@pytest.mark.parametrize("page", ["docs/README.md", "decisions/README.md"])
def test_an_index_leads_to_every_page_of_its_folder_once(page: str) -> None:
    listed = re.findall(r"\]\((\w[\w-]*\.md)\)", text_of(page))
    assert sorted(listed) == sorted({path.name for path in PAGES[page].parent.glob("*.md")} - {"README.md"})


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 120


@pytest.mark.parametrize("page", ["CONTRIBUTING.md"])
def test_a_file_of_the_repository_that_a_page_names_exists(page: str) -> None:
    named = {code for code in code_in_text(page) if re.fullmatch(r"zk_pipeline(_tests)?/[\w/.]*", code)}
    assert len(named) > 10
    assert [name for name in sorted(named) if not (CHECKOUT / name).exists()] == []
