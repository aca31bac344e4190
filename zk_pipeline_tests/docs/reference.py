"""Reference tables of the documentation, generated from the code: `python -m zk_pipeline_tests.docs.reference`.

A table is between `<!-- generated: NAME -->` and `<!-- end: NAME -->` in its page. The columns that the code knows
are generated; `kept` columns are written by hand and stay with the key in the first column. `--check` changes nothing
and exits with 1 if a page differs from the code.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, get_args

import click
import dagster as dg
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from zk_pipeline.cli.main import COMMANDS, cli
from zk_pipeline.config.settings import VARIABLES, Settings, load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.operations.alerting import problems
from zk_pipeline.operations.alerting.problems import FailedCheck, FailedRun, Links
from zk_pipeline.operations.alerting.quality_checks import CHECKS, RUN_CHECKS
from zk_pipeline.operations.terminal_gateway import terminal_gateway
from zk_pipeline.server.app import create_app
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.quality import DeviceReach, Freshness, PushReach, Undelivered
from zk_pipeline.store.store import Store

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
MISSING = "TODO"  # text of a kept column in a new row
Rows = Iterable[Sequence[str]]


@dataclass(frozen=True)
class Table:
    """A table of a page: `rows` returns the generated columns, `kept` names the columns written by hand."""

    page: str
    columns: tuple[str, ...]
    rows: Callable[[Settings], Rows]
    kept: tuple[str, ...] = ()

    def written(self, settings: Settings, before: str) -> str:
        """The table as Markdown; `before` is the current page, for the kept columns."""
        by_hand = _kept_cells(before, self.kept)
        empty = [MISSING] * len(self.kept)
        rows = [[*(_cell(cell) for cell in row), *by_hand.get(_cell(row[0]), empty)] for row in self.rows(settings)]
        return _markdown([*self.columns, *self.kept], rows)


def commands(_: Settings) -> Iterator[tuple[str, str]]:
    """Each command and the first sentence of its help."""
    return _commands(cli, COMMANDS)


def _commands(group: click.Group, names: Iterable[str], path: str = "") -> Iterator[tuple[str, str]]:
    for name in names:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, command.list_commands(click.Context(command)), f"{path}{name} ")
        else:
            yield f"`{path}{name}`", command.get_short_help_str(limit=300)


def endpoints(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Path, method and purpose of each operation of the OpenAPI document, by path."""
    app = create_app(settings, Store.at(settings.store), terminal_gateway(settings))
    for path, methods in sorted(app.openapi()["paths"].items()):
        for method, operation in methods.items():
            yield f"`{path}`", method.upper(), operation["description"].split("\n\n")[0]


def checks(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """Name, asset, severity and description of each asset check; * marks those that runs of the asset evaluate too."""
    graph = build_definitions(settings).resolve_asset_graph()
    for asset in ("devices", "raw_punches", "daily_attendance", "crm_sync"):
        for check in sorted((one for one in CHECKS if one.asset == asset), key=lambda one: one.name):
            spec = graph.get_check_spec(dg.AssetCheckKey(dg.AssetKey(asset), check.name))
            label = f"{check.severity.lower()}, blocking" if spec.blocking else check.severity.lower()
            yield f"`{check.name}`{' *' if check in RUN_CHECKS else ''}", f"`{asset}`", label, spec.description or ""


def every_problem() -> dict[str, list[Problem]]:
    """One problem of each kind and severity, by the function that creates it."""
    read = DeviceReach("OTHER", LONG_AGO, LONG_AGO, None, None, "run", 0)
    lost = DeviceReach("NAME", LONG_AGO, LONG_AGO, "refused", "message", "run", 0)
    late = Freshness([lost], {}, Undelivered(1, LONG_AGO, 1, LONG_AGO, "message"), {"NAME": LONG_AGO})
    some = Freshness([lost, read], {}, late.undelivered, {})
    gone = PushReach("NAME", LONG_AGO, 1, LONG_AGO.date(), LONG_AGO.date(), LONG_AGO + timedelta(1), "message")
    here = PushReach("OTHER", LONG_AGO + timedelta(1), 0, None, None, None, None)
    pushing = [Freshness([], {}, late.undelivered, {}, found) for found in ([gone], [gone, here])]
    links = Links()
    return {
        "device_problems": [
            problem
            for found in (late, some)
            for problem in problems.device_problems(found, LONG_AGO, timedelta(0), links)
        ],
        "push_problems": [
            problem
            for found in pushing
            for problem in problems.push_problems(found, LONG_AGO + timedelta(1), timedelta(0))
        ],
        "lock_problems": problems.lock_problems(late, LONG_AGO, timedelta(seconds=-1)),
        "check_problems": problems.check_problems(
            [FailedCheck("ASSET", "CHECK", severity, "message") for severity in ("ERROR", "WARN")], links
        ),
        "run_problem": [problems.run_problem(FailedRun("id", "JOB", "message"), links)],
        "crm_problems": problems.crm_problems(late, "message"),
        "tick_problem": [problems.tick_problem("NAME", "message", links)],
        "daemon_problem": [problems.daemon_problem("message")],
    }


def alerts(_: Settings) -> Iterator[tuple[str, str]]:
    """Key and severity of each alert; both severities if either is possible."""
    severities: dict[str, list[str]] = {}
    for problem in (one for made in every_problem().values() for one in made):
        severities.setdefault(problem.key, []).append(problem.severity)
    for key, found in severities.items():
        yield f"`{key}`", " or ".join(sorted(set(found), reverse=True))


def triggers(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Name, time and purpose of each schedule and sensor."""
    definitions = build_definitions(settings)
    for schedule in definitions.schedules or ():
        assert isinstance(schedule, dg.ScheduleDefinition)
        yield f"`{schedule.name}`", f"`{schedule.cron_schedule}`", schedule.description or ""
    for sensor in definitions.sensors or ():
        yield f"`{sensor.name}`", f"{sensor.minimum_interval_seconds} s", sensor.description or ""


def jobs(settings: Settings) -> Iterator[tuple[str, str]]:
    for job in build_definitions(settings).jobs or ():
        yield f"`{job.name}`", job.description or ""


def assets(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    graph = build_definitions(settings).resolve_asset_graph()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        partitions = node.partitions_def
        units = {dg.DynamicPartitionsDefinition: "terminal", dg.DailyPartitionsDefinition: "work date"}
        each = next((word for kind, word in units.items() if isinstance(partitions, kind)), "none")
        yield f"`{key.to_user_string()}`", node.group_name or "", each, node.description or ""


def settings_of(section: str) -> Callable[[Settings], Rows]:
    """Variable, default, accepted values and meaning of each setting of a section of `.env.example`."""

    def rows(_: Settings) -> Rows:
        for name, default, meaning in example_sections()[section]:
            shown = f"`{default}`" if default else ""
            yield f"`{name}`", shown, _values(name), re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", meaning)

    return rows


def example_sections() -> dict[str, list[tuple[str, str, str]]]:
    """(variable, default, meaning) of each setting by section, from the comments of `.env.example`."""
    sections: dict[str, list[tuple[str, str, str]]] = {}
    comment: list[str] = []
    for line in (CHECKOUT / ".env.example").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"# --- (.+?) -+", line):
            sections[heading[1]] = []
        elif variable := re.fullmatch(r"# ([A-Z][A-Z0-9_]+)=(.*)", line):
            list(sections.values())[-1].append((variable[1], variable[2], " ".join(comment)))
        else:
            comment.append(line.removeprefix("#").strip())
            continue
        comment = []
    return sections


def _values(name: str) -> str:
    """Accepted values of a setting, from its type and bounds."""
    if name not in VARIABLES:
        return "path"
    field: FieldInfo = Settings.model_fields[VARIABLES[name]]
    annotated = [part for kind in (field.annotation, *get_args(field.annotation)) for part in (kind, *get_args(kind))]
    kinds = {part for part in annotated if isinstance(part, type)}
    bounds: dict[str, Any] = {}
    validators: set[str] = set()
    for mark in [*field.metadata, *(part for part in annotated if not isinstance(part, type))]:
        for bound in ("ge", "gt", "le", "pattern"):
            if (limit := getattr(mark, bound, None)) is not None:
                bounds[bound] = limit
        validators.add(getattr(getattr(mark, "func", None), "__name__", ""))
        for inner in getattr(mark, "metadata", ()):
            bounds |= {b: getattr(inner, b) for b in ("ge", "gt", "le") if getattr(inner, b, None) is not None}
    for kind, description in {
        bool: "`true`, `false`", time: "HH:MM", date: "YYYY-MM-DD", Path: "path", SecretStr: "text, kept secret",
    }.items():  # fmt: skip
        if kind in kinds:
            return description
    for validator, description in {
        "_known_timezone": "IANA time zone",
        "_web_address": "http or https address",
        "_event_codes": "numbers and ranges, separated by commas",
    }.items():
        if validator in validators:
            return description
    if int not in kinds and float not in kinds:
        return "text"
    what = "whole number" if int in kinds else "number"
    low = f"above {bounds['gt']:g}" if "gt" in bounds else f"{bounds.get('ge', 0):g}"
    return f"{what}, {low} to {bounds['le']:g}" + (", divides a day" if "_divides_a_day" in validators else "")


TABLES = {
    "commands": Table("commands.md", ("command of zk-pipeline", "does"), commands),
    "endpoints": Table("api.md", ("path", "method", "does"), endpoints),
    "checks": Table("operating.md", ("check", "of", "severity", "expectation, and remedy"), checks,
                    kept=("usual causes, and more help",)),
    "alerts": Table("operating.md", ("alert", "severity"), alerts, kept=("means", "usual causes", "remedy")),
    "triggers": Table("architecture.md", ("schedule or sensor", "when", "purpose"), triggers),
    "jobs": Table("architecture.md", ("job", "purpose"), jobs),
    "assets": Table("architecture.md", ("asset", "group", "a partition per", "content"), assets),
    **{
        f"settings {section}": Table("settings.md", ("variable", "default", "values", "meaning"), settings_of(section))
        for section in example_sections()
    },
}  # fmt: skip


def page_with(name: str, text: str, settings: Settings) -> str:
    """A page's text with the named table as the code has it. Raises ValueError where the page has no place for it."""
    begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{TABLES[name].page} has not one place for the table {name!r}")
    before, rest = text.split(begin)
    now, after = rest.split(end)
    return f"{before}{begin}\n{TABLES[name].written(settings, now)}\n{end}{after}"


def _kept_cells(before: str, kept: Sequence[str]) -> dict[str, list[str]]:
    """First cell → cells of the columns written by hand."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in before.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line] for line in lines]
    if not rows or not kept:
        return {}
    heading, _, *rest = rows
    places = [heading.index(name) if name in heading else -1 for name in kept]
    return {row[0]: [row[at] if at >= 0 else MISSING for at in places] for row in rest}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(heading)
    return "".join(f"{line}\n" for line in (_row(heading), rule, *map(_row, rows)))


def default_settings(home: Path) -> Settings:
    """All settings at their defaults, in a home of its own."""
    return load_settings({"ZK_PIPELINE_HOME": str(home)})


def main(arguments: Sequence[str]) -> int:
    """Write all tables, or compare them (`--check`); 1 where a page differs."""
    different = []
    with tempfile.TemporaryDirectory() as home:
        settings = default_settings(Path(home))
        for name, table in TABLES.items():
            path = DOCS / table.page
            text = path.read_text(encoding="utf-8")
            if (wanted := page_with(name, text, settings)) != text:
                different.append(f"docs/{table.page}: {name}")
                if "--check" not in arguments:
                    path.write_text(wanted, encoding="utf-8")
    for line in different:
        sys.stdout.write(f"{'differs' if '--check' in arguments else 'written'}: {line}\n")
    return 1 if different and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
