"""What the pages list is all there is: checks, alerts, findings, settings, commands, schedules and sensors."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import timedelta

import click
import pytest

from zk_pipeline.attendance.rules import OutlierCode
from zk_pipeline.cli.main import COMMANDS, cli
from zk_pipeline.defs.alert_sensors import KINDS
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.operations import doctor as home_doctor
from zk_pipeline.operations import problems
from zk_pipeline.operations.problems import FailedCheck, FailedRun, Links
from zk_pipeline.settings import VARIABLES, load_settings
from zk_pipeline.store import doctor as store_doctor
from zk_pipeline.store.alerts import Problem
from zk_pipeline.store.doctor_rules import PER_SPAN, WHOLE
from zk_pipeline.store.quality import DeviceReach, Freshness, Undelivered
from zk_pipeline_tests.docs.pages import CHECKOUT, PAGES, code_in_text, first_column, text_of
from zk_pipeline_tests.store.store_bench import LONG_AFTER

EXPORTED_ONLY = {"ZK_PIPELINE_HOME", "DAGSTER_HOME"}
OTHERS = {"GATE_KEY", "READ_ONLY"}  # a variable of the reader's own; a word of SQL


@pytest.mark.usefixtures("bare_home")
def test_every_check_is_explained_and_no_other() -> None:
    graph = build_definitions(load_settings()).resolve_asset_graph()
    assert sorted(first_column("operating.md", "Checks")) == sorted(key.name for key in graph.asset_check_keys)


def every_problem() -> dict[str, list[Problem]]:
    """One problem of each kind, by the function that makes it."""
    device = DeviceReach("NAME", LONG_AFTER, LONG_AFTER, "refused", "words", "run", 0)
    late = Freshness([device], {}, Undelivered(1, LONG_AFTER, 1, LONG_AFTER, "words"), {"NAME": LONG_AFTER})
    links = Links()
    return {
        "device_problems": problems.device_problems(late, LONG_AFTER, timedelta(0), links),
        "lock_problems": problems.lock_problems(late, LONG_AFTER, timedelta(seconds=-1)),
        "check_problems": problems.check_problems([FailedCheck("ASSET", "CHECK", "WARN", "words")], links),
        "run_problem": [problems.run_problem(FailedRun("id", "JOB", "words"), links)],
        "crm_problems": problems.crm_problems(late, "words"),
        "tick_problem": [problems.tick_problem("NAME", "words", links)],
        "daemon_problem": [problems.daemon_problem("words")],
    }


def test_every_alert_is_explained_and_no_other() -> None:
    made = every_problem()
    makers = {
        name
        for name, function in inspect.getmembers(problems, inspect.isfunction)
        if not name.startswith("_") and "Problem" in str(inspect.signature(function).return_annotation)
    }
    assert set(made) == makers
    assert {one.kind for found in made.values() for one in found} == set(KINDS)
    keys = [one.key for found in made.values() for one in found]
    assert sorted(first_column("operating.md", "Alerts")) == sorted(keys)


def findings() -> Iterator[str]:
    """Names of all findings, as they stand in the code that makes them."""
    for module in (home_doctor, store_doctor):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                name = node.args[1]
                if isinstance(name, ast.Constant):
                    yield str(name.value)
    yield from (rule.name for rule in (*WHOLE, *PER_SPAN))


def test_every_finding_of_doctor_is_explained_and_no_other() -> None:
    assert sorted(first_column("operating.md", "Findings of doctor")) == sorted(set(findings()))


@pytest.mark.usefixtures("bare_home")
def test_every_schedule_and_sensor_is_named_and_no_other() -> None:
    definitions = build_definitions(load_settings())
    names = [one.name for one in (*(definitions.schedules or ()), *(definitions.sensors or ()))]
    assert sorted(first_column("architecture.md", "What asks for work")) == sorted(names)


def test_every_setting_is_in_the_example_and_no_other() -> None:
    example = (CHECKOUT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^# ([A-Z0-9_]+)=", example, re.MULTILINE)) == set(VARIABLES) | {"ZK_PIPELINE_HOME"}


@pytest.mark.parametrize("page", PAGES)
def test_a_setting_that_a_page_names_exists(page: str) -> None:
    words = {word for code in code_in_text(page) for word in re.split(r"[^A-Z0-9_]", code)}
    named = {word for word in words if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", word)}
    assert named <= set(VARIABLES) | EXPORTED_ONLY | OTHERS | {code.value for code in OutlierCode}


def leaves() -> Iterator[tuple[str, str]]:
    """Each command and what it says of itself."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            for sub in command.list_commands(click.Context(command)):
                found = command.get_command(click.Context(command), sub)
                assert found is not None
                yield f"{name} {sub}", found.get_short_help_str(limit=300)
        else:
            yield name, command.get_short_help_str(limit=300)


def test_the_page_of_commands_has_each_in_the_words_of_its_help() -> None:
    rows = re.findall(r"^\| `.+?` \| .+ \|$", text_of("commands.md"), re.MULTILINE)
    wanted = [f"| `{name}` | {words} |" for name, words in leaves()]
    assert rows == wanted, "docs/commands.md wants these rows:\n" + "\n".join(wanted)


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    folder = PAGES[page].parent
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        file = folder / name if name else PAGES[page]
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, target


def test_the_index_leads_to_every_page() -> None:
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", text_of("docs/README.md")))
    assert listed == {path.name for path in (CHECKOUT / "docs").glob("*.md")} - {"README.md"}
