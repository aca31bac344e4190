"""Tables, messages and text exports of every command on a host in another zone than the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.cli.test_cli_help import LEAVES, command_of
from zk_pipeline_tests.host_zone import CLOCK_IN, CLOCK_OUT, SETTINGS, host_in_new_york, host_times, work_in_nairobi
from zk_pipeline_tests.store.store_fixtures import MONDAY

DATES = ("--start-date", str(MONDAY), "--end-date", str(MONDAY))
SHOWN: dict[tuple[str, ...], tuple[str, ...]] = {
    ("status",): (),
    ("doctor",): (),
    ("explain",): ("--user-id", "1001", "--date", str(MONDAY)),
    ("who",): (),
    ("punch", "list"): (),
    ("period", "list"): (),
    ("month",): ("--user-id", "1001", "--month", f"{MONDAY:%Y-%m}"),
    ("device", "list"): (),
    ("device", "show"): ("Gate",),
    ("device", "correct-clock"): (),
    ("device", "pending"): (),
    ("device", "commands"): ("Gate",),
    ("device", "events"): ("Gate",),
    ("quarantine", "list"): ("--all",),
    ("api-token", "list"): (),
    ("shift", "list"): (),
    ("holiday", "list"): (),
    ("leave", "list"): (),
    ("process",): (*DATES, "--rejudge", "--dry-run"),
    ("export",): ("attendance", *DATES, "--format", "csv", "-o", "-"),
}
# Tables and lines without times: counts, names, dates.
WITHOUT_TIMES = {
    ("api-token", "create"),
    ("backup",),
    ("cleanup",),
    ("demo",),
    ("device", "adopt"),
    ("device", "apply"),
    ("device", "clear-log"),
    ("device", "command"),
    ("device", "set-clock"),
    ("device", "users"),
    ("holiday", "import"),
    ("import", "django-bridge"),
    ("import", "punches"),
    ("leave", "add"),
    ("leave", "import"),
    ("migrate-store",),
    ("payroll", "export"),
    ("period", "close"),
    ("period", "diff"),
    ("period", "open"),
    ("period", "reopen"),
    ("poll",),
    ("punch", "apply"),
    ("punch", "approve"),
    ("punch", "reject"),
    ("punch", "request"),
    ("punch", "withdraw"),
    ("quarantine", "release"),
    ("repair",),
    ("restore",),
    ("shift", "apply"),
    ("shift", "assign"),
    ("shift", "assign-file"),
    ("shift", "rotate"),
    ("shift", "season", "add"),
    ("shift", "season", "list"),
    ("simulate",),
    ("sync",),
    ("test-alerts",),
    ("test-crm",),
    ("test-device",),
    ("watchdog",),
}


@pytest.fixture
def abroad(home_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ZK_PIPELINE_TIMEZONE", SETTINGS)
    with host_in_new_york():
        work_in_nairobi(home_store)
        home_store.payroll.open(f"{MONDAY:%Y-%m}", "cli:ada")
        home_store.payroll.close(f"{MONDAY:%Y-%m}", "cli:ada", force=True)
        yield


@pytest.mark.usefixtures("abroad")
def test_no_command_prints_a_time_on_the_clock_or_with_the_zone_of_the_host(zk: CommandLine) -> None:
    printed = {path: zk(*path, *arguments) for path, arguments in SHOWN.items()}
    assert {path: one.err for path, one in printed.items() if one.code} == {}
    texts = {path: one.out + one.err for path, one in printed.items()}
    export = texts.pop(("export",))
    assert f"{MONDAY} {CLOCK_IN}:00" in export
    assert f"{MONDAY} 05:41:00Z" in export, "an instant in UTC"
    assert {path: found for path, text in texts.items() if (found := host_times(text))} == {}
    for path in (("explain",), ("month",), ("device", "correct-clock")):
        assert CLOCK_IN in texts[path]
        assert CLOCK_OUT in texts[path]
    for path in (
        ("status",),
        ("explain",),
        ("device", "list"),
        ("device", "show"),
        ("api-token", "list"),
        ("period", "list"),
    ):
        assert f" {SETTINGS}" in texts[path]
    times = {one for text in texts.values() for one in re.findall(rf"\d\d:\d\d:\d\d(?! {SETTINGS})", text)}
    assert times == {f"{CLOCK_IN}:00", f"{CLOCK_OUT}:00"}, "an instant without a zone, or a wall clock with one"


@pytest.mark.usefixtures("abroad")
def test_an_earlier_moment_without_an_offset_is_in_the_zone_of_the_settings(zk: CommandLine) -> None:
    asked = ("explain", "--user-id", "1001", "--date", str(MONDAY), "--as-of")
    assert f"as of 2026-03-02 09:00:00 {SETTINGS}" in zk(*asked, "2026-03-02T09:00").err
    assert f"as of 2026-03-02 18:00:00 {SETTINGS}" in zk(*asked, "2026-03-02T09:00Z").err
    assert zk(*asked, "0001-01-01").code == 2


def test_the_walk_above_knows_every_command_with_a_table() -> None:
    with_tables = {path for path in LEAVES if "as_json" in {one.name for one in command_of(path).params}}
    assert with_tables - SHOWN.keys() == WITHOUT_TIMES
