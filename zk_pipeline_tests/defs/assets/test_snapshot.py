"""Published copy of the store, read by analysts during polls and processing."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.errors import UsageError
from zk_pipeline.runs.launcher import open_launcher
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import device, ingest, on, process

pytestmark = pytest.mark.closed_stores  # copies of the file have all of it once it is closed
DOCUMENT = Path(__file__).parents[3] / "docs" / "analysts.md"
MINUTES = 4  # each with a poll and processing
PAUSE_SECONDS = 0.02  # of who publishes and who reads
# A separate client: opens the file, runs two queries whose results must agree, closes it; until its input ends.
ANALYST = """
import duckdb, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
reads = 0
while not ended.wait(float(sys.argv[2])):
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        punches = connection.execute("SELECT count(*) FROM raw_punches").fetchone()[0]
        reported = connection.execute("SELECT coalesce(sum(\\"new\\"), 0) FROM device_polls").fetchone()[0]
        assert punches == reported, (punches, reported)
        reads += 1
        if reads == 1:
            print("reading", flush=True)
print(reads, punches)
"""


def test_a_processing_run_renews_the_copy_and_the_documented_command_reads_it(
    home: Path, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLISH_SNAPSHOT", "published/attendance.duckdb")
    devices = switch_on(fleet, home_store, gate("North", *present(MONDAY)))
    with open_launcher(load_settings()) as launcher:
        launcher.poll(devices, devices)
        assert not (home / "published").exists()
        assert launcher.process(DateRange(MONDAY, MONDAY)).success
    command = re.search(r"<!-- command: analyst -->\n```sh\n(.+)\n```", DOCUMENT.read_text(encoding="utf-8"))
    assert command is not None
    shown = subprocess.run(
        command[1].replace("python ", f"{sys.executable} ", 1),
        shell=True, cwd=home, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(MONDAY) in shown.stdout
    with duckdb.connect(str(home / "published" / "attendance.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT user_id FROM processed_attendance").fetchall() == [("1001",)]
    assert [path.name for path in (home / "published").iterdir()] == ["attendance.duckdb"]


def test_a_copy_that_cannot_be_written_fails_the_run_and_leaves_the_days_green(
    home: Path, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "published").write_text("a file where a folder must be")
    monkeypatch.setenv("PUBLISH_SNAPSHOT", "published/attendance.duckdb")
    devices = switch_on(fleet, home_store, gate("North", *present(MONDAY)))
    with open_launcher(load_settings()) as launcher:
        launcher.poll(devices, devices)
        done = launcher.process(DateRange(MONDAY, MONDAY))
    assert done.failure is not None
    assert "the work dates are processed, but" in done.failure
    assert list(done.partitions) == [str(MONDAY)]


def test_an_analyst_reads_whole_moments_while_polls_processing_and_publishing_go_on(
    store: Store, tmp_path: Path
) -> None:
    store.devices.add(device())
    published = tmp_path / "published" / "attendance.duckdb"
    store.backups.publish(published)
    with subprocess.Popen(
        [sys.executable, "-c", ANALYST, str(published), str(PAUSE_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as analyst:
        assert analyst.stdout is not None
        assert analyst.stdin is not None
        assert analyst.stdout.readline() == "reading\n"
        renewing = threading.Event()

        def publish() -> None:
            while not renewing.wait(PAUSE_SECONDS):
                store.backups.publish(published)

        publisher = threading.Thread(target=publish)
        publisher.start()
        for minute in range(MINUTES):
            ingest(store, "Gate", *on(MONDAY, f"08:{minute:02d}"))
            process(store, MONDAY)
        renewing.set()
        publisher.join()
        store.backups.publish(published)
        with duckdb.connect(str(published), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM raw_punches").fetchall() == [(MINUTES,)]
        analyst.stdin.close()
        reads = int(analyst.stdout.read().split()[0])
    assert (analyst.returncode, reads > 1) == (0, True)


def test_a_session_that_stays_open_sees_its_own_moment_and_hinders_nobody(store: Store, tmp_path: Path) -> None:
    store.devices.add(device())
    published = tmp_path / "attendance.duckdb"
    store.backups.publish(published)
    with duckdb.connect(str(published), read_only=True) as session:
        ingest(store, "Gate", *on(MONDAY, "08:00"))
        moved = published.rename(tmp_path / "seen.duckdb")  # this process must not close another descriptor of it
        store.backups.publish(published)
        assert session.execute("SELECT count(*) FROM raw_punches").fetchall() == [(0,)]
    assert moved.exists()


@pytest.mark.parametrize("wrong", ["data/attendance.duckdb", "published", "data"])
def test_a_place_that_cannot_be_is_refused_at_start(wrong: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    monkeypatch.setenv("PUBLISH_SNAPSHOT", wrong)
    with pytest.raises(UsageError, match="PUBLISH_SNAPSHOT"):
        load_settings()
