"""Home of the current release as a fixture of the upgrade tests: `python -m zk_pipeline_tests.upgrades.make_fixture`.

Run it once per release, and commit the file that it writes to `states/`. With the interpreter of another installation
as argument, it uses that release: in its checkout, `uv sync --frozen`, then pass `.venv/bin/python`.

The home is made by the commands of the release only: two emulated terminals, their punches and attendance days, a token
of the API, a sync of which the CRM rejected one record and whose answer to another was lost, deliveries that are still
due, and an instance of Dagster in which a schedule and a sensor were stopped and a cursor was set. `facts.json` next to
the home has what an upgrade must preserve; `crm.jsonl` has the records that the CRM has applied.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from zk_pipeline.simulator.crm.faults import Fault, ReceivedRequest, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.demo.dagster_ui import Ui, serving_ui
from zk_pipeline_tests.demo.demo_fixtures import environ
from zk_pipeline_tests.waiting import until

STATES = Path(__file__).parent / "states"
CRM_TOKEN = "token-of-the-crm"
STOPPED_SCHEDULE, STOPPED_SENSOR, CURSOR = "sync_to_crm_schedule", "new_punches_sensor", '{"as": "it was"}'
REJECTED, LOST = 2, 5  # numbers of the requests that are rejected, and whose answer is lost
SENT, FEW = "12", ("--devices", "2", "--employees", "6", "--days", "6", "--json")
# Columns of the contract: they have the same names in every release.
DAYS = """
SELECT site, user_id, work_date::VARCHAR, clock_in_local::VARCHAR, clock_out_local::VARCHAR, punch_count,
       worked_minutes, is_incomplete, is_outlier, outlier_codes, revision
FROM daily_attendance ORDER BY ALL
"""
DELIVERIES = (
    "SELECT site, user_id, work_date::VARCHAR, revision, idempotency_key, state FROM crm_deliveries ORDER BY ALL"
)
PUNCHES = "SELECT device, user_id, punched_at_local::VARCHAR, punch_state, verify_type FROM raw_punches ORDER BY ALL"
QUARANTINED = """
INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at)
SELECT device, '\\xFF\\x00'::BLOB, 'impossible date', min(id), now() FROM device_polls GROUP BY ALL LIMIT 1
"""
_STATES = """
{ repositoryOrError(repositorySelector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__"}) {
    ... on Repository {
      schedules { name scheduleState { id status } }
      sensors { name sensorState { id status typeSpecificData { ... on SensorData { lastCursor } } } }
} } }
"""
_LAST_TICK = """
query Ticks($name: String!) {
  sensorOrError(sensorSelector: {
    repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", sensorName: $name
  }) { ... on Sensor { sensorState { ticks(limit: 1) { status } } } }
}
"""
_SET_CURSOR = """
mutation Set($name: String!, $cursor: String!) {
  setSensorCursor(cursor: $cursor, sensorSelector: {
    repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", sensorName: $name
  }) { __typename }
}
"""
_LEFT_OUT = {".run", ".zk-pipeline.lock", "attendance.duckdb.holders", "terminal-locks"}


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "home").mkdir()
        version = fill(place, python)
        STATES.mkdir(exist_ok=True)
        target = STATES / f"store-version-{version:04d}.tar.xz"
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for one in sorted(place.iterdir()):
                archive.add(one, one.name, filter=_kept)
    print(f"{target.name}: {target.stat().st_size / 1e3:.0f} kB")  # noqa: T201 (a script)


def unpack(version: int, folder: Path) -> None:
    """Unpack the fixture of a store version: `home`, `facts.json` and `crm.jsonl`."""
    with tarfile.open(STATES / f"store-version-{version:04d}.tar.xz") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # Python 3.11.0 to 3.11.3
            archive.extractall(folder)


def versions() -> list[int]:
    """Store versions that have a fixture, ascending."""
    return sorted(int(one.name[len("store-version-") :][:4]) for one in STATES.glob("store-version-*.tar.xz"))


def fill(place: Path, python: str) -> int:
    """Fill `place` by the release of an interpreter. Returns the version of its store."""
    home = place / "home"
    with CrmReceiver(token=CRM_TOKEN, ledger_path=place / "crm.jsonl", fault_rule=_fault) as crm:
        release = Release(home, python, CRM_API_URL=crm.url, CRM_API_TOKEN=CRM_TOKEN, CRM_CONCURRENCY="1")
        with release.terminals() as terminals:
            for one in terminals:
                release.run(
                    "device", "add", one["name"], one["ip"], "--port", str(one["port"]), "--timezone", one["timezone"],
                    "--site", "headquarters", "--protocol", "tcp",
                )  # fmt: skip
            release.run("poll")
        release.run("process")
        release.run("sync", "--limit", SENT, may_fail=True)
    token = release.run("api-token", "create", "reader").strip()
    with serving_ui(home, ["up"], place / "up.log", python=python, **release.settings) as ui:
        states = _switch(ui)
        ui.process.terminate()
        assert ui.process.wait(60) == 0, ui.output.read_text()
    (place / "up.log").unlink()
    with duckdb.connect(str(home / "data" / "attendance.duckdb")) as store:
        store.execute(QUARANTINED)
        (version,) = store.execute("SELECT max(version) FROM schema_migrations").fetchall()[0]
        facts = {
            "token": token,
            "automation": states,
            **{
                name: store.execute(sql).fetchall()
                for name, sql in (("days", DAYS), ("deliveries", DELIVERIES), ("punches", PUNCHES))
            },
        }
    (place / "facts.json").write_text(json.dumps(facts, indent=1))
    return int(version)


class Release:
    """Commands of an installed release on a home."""

    def __init__(self, home: Path, python: str, **settings: str) -> None:
        self.home, self.python, self.settings = home, python, settings

    def run(self, *arguments: str, may_fail: bool = False) -> str:
        """The output of a command."""
        done = subprocess.run(
            [self.python, "-m", "zk_pipeline", *arguments],
            cwd=self.home, env=environ(self.home, **self.settings), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert may_fail or done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    @contextmanager
    def terminals(self) -> Iterator[list[dict[str, Any]]]:
        """Emulated terminals: name, ip, port and timezone of each."""
        command = [self.python, "-m", "zk_pipeline", "simulate", *FEW]
        with subprocess.Popen(
            command, cwd=self.home, env=environ(self.home), stdout=subprocess.PIPE, text=True
        ) as child:
            try:
                assert child.stdout is not None
                printed = ""
                for line in child.stdout:
                    printed += line
                    if line == "]\n":
                        break
                yield json.loads(printed)
            finally:
                child.kill()


def automation(ui: Ui) -> dict[str, list[str | None]]:
    """Name → status and cursor of each schedule and sensor."""
    found = ui.ask(_STATES)["repositoryOrError"]
    schedules = {one["name"]: [one["scheduleState"]["status"], None] for one in found["schedules"]}
    sensors = {one["name"]: one["sensorState"] for one in found["sensors"]}
    return schedules | {
        name: [state["status"], state["typeSpecificData"]["lastCursor"] if name == STOPPED_SENSOR else None]
        for name, state in sensors.items()  # the cursor of a running sensor changes
    }


def _switch(ui: Ui) -> dict[str, list[str | None]]:
    """Stop a schedule and a sensor, and set the cursor of that sensor; returns the state of all."""
    ui.stop_one(STOPPED_SCHEDULE)
    ui.stop_one(STOPPED_SENSOR)

    def has_ended() -> bool:
        ticks = ui.ask(_LAST_TICK, name=STOPPED_SENSOR)["sensorOrError"]["sensorState"]["ticks"]
        return all(tick["status"] != "STARTED" for tick in ticks)

    until(has_ended, seconds=60)  # its end writes a cursor
    ui.ask(_SET_CURSOR, name=STOPPED_SENSOR, cursor=CURSOR)
    states = automation(ui)
    assert states[STOPPED_SCHEDULE][0] == "STOPPED", states
    assert states[STOPPED_SENSOR] == ["STOPPED", CURSOR], states
    return states


def _fault(received: ReceivedRequest) -> Fault | None:
    if received.number == REJECTED:
        return refusal(422)
    return Fault(drop="after") if received.number >= LOST and received.key in _lost(received) else None


_lost_keys: set[str | None] = set()


def _lost(received: ReceivedRequest) -> set[str | None]:
    """The key of one request, of which every answer is lost."""
    if not _lost_keys:
        _lost_keys.add(received.key)
    return _lost_keys


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if _LEFT_OUT & set(Path(entry.name).parts):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
