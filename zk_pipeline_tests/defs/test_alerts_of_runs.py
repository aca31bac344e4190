"""A failed run is told to people by a real HTTP request; and no secret is left anywhere by runs that fail."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from zk_pipeline.defs.launch import Launcher
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.defs.resources import resources
from zk_pipeline.defs.sensors import sensors
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.settings import load_settings
from zk_pipeline.simulator.crm_misbehaviour import refusal
from zk_pipeline.simulator.crm_receiver import CrmReceiver
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.defs.run_bench import poll_all
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_bench import rows

COMM_KEY, CHANNEL_SECRET = "918273645", "channel-secret-of-the-team"


class Channel:
    """An HTTP server that people's alerts go to."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.status = 200
        channel = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                channel.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(channel.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"json://ops:{CHANNEL_SECRET}@127.0.0.1:{self.server.server_port}/alerts"


@pytest.fixture
def channel(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:  # noqa: ARG001 (clears the variables)
    channel = Channel()
    monkeypatch.setenv("ALERT_URLS", channel.url)
    thread = threading.Thread(target=channel.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield channel
    finally:
        channel.server.shutdown()
        channel.server.server_close()
        thread.join()


def alert_of(launcher: Launcher, run_id: str) -> object:
    """Let run_failure_alert_sensor react to a failed run as the daemon would."""
    (sensor,) = (one for one in sensors(load_settings()) if one.name == "run_failure_alert_sensor")
    run = launcher.instance.get_run_by_id(run_id)
    assert run is not None
    (failure,) = launcher.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=launcher.instance,
        dagster_run=run,
        dagster_event=failure.get_dagster_event(),
        resources=resources(load_settings()),
    )
    return sensor(context.for_run_failure())


@pytest.fixture
def failing(
    launcher: Launcher, fleet: Fleet, home_store: Store, crm: CrmReceiver, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Runs that failed: at a terminal with another comm key, at a CRM that repeats the token in its refusal."""
    monkeypatch.setenv("GATE_KEY", COMM_KEY)
    switch_on(fleet, home_store, gate("Locked", comm_key=4711), comm_key_env="GATE_KEY")
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY)))
    crm.misbehave = lambda _: refusal(422, detail=f"who is Token {CRM_TOKEN}?")
    polled = poll_all(launcher, home_store)
    assert launcher.process(DateRange(MONDAY, MONDAY)).failure is None
    refused = launcher.sync(DateRange(MONDAY, MONDAY), {})
    crm.misbehave = lambda _: refusal(401, detail=f"{CRM_TOKEN} is nobody")
    misconfigured = launcher.sync(DateRange(MONDAY, MONDAY), {"failed": True})
    results = [polled, refused, misconfigured]
    assert None not in [one.failure for one in results]
    return [one.run_id for one in results]


def test_a_failed_run_is_told_with_its_job_its_reason_and_its_id(
    launcher: Launcher, failing: list[str], channel: Channel
) -> None:
    for run_id in failing:
        alert_of(launcher, run_id)
    titles = [alert["title"] for alert in channel.alerts]
    assert titles == [f"zk_pipeline: {job} failed" for job in ("poll_devices", "sync_to_crm", "sync_to_crm")]
    bodies = [alert["message"] for alert in channel.alerts]
    assert "raw_punches: " in bodies[0]
    assert "1 of 2 devices failed: [wrong_comm_key] Locked" in bodies[0]
    assert "1 failed" in bodies[1]
    assert "401" in bodies[2]
    assert [body.splitlines()[-1] for body in bodies] == [f"Run {run_id}" for run_id in failing]
    for secret in (CRM_TOKEN, COMM_KEY, CHANNEL_SECRET):
        assert secret not in json.dumps(channel.alerts)


def test_without_a_channel_the_tick_says_that_nobody_was_told(launcher: Launcher, failing: list[str]) -> None:
    assert isinstance(told := alert_of(launcher, failing[0]), dg.SkipReason)
    assert told.skip_message == "ALERT_URLS is not set: nobody was told"


def test_a_channel_that_refuses_is_an_error_without_the_channels_secret(
    launcher: Launcher, failing: list[str], channel: Channel
) -> None:
    channel.status = 500
    with pytest.raises(ZkPipelineError) as raised:
        alert_of(launcher, failing[0])
    assert CHANNEL_SECRET not in str(raised.value)
    assert channel.alerts


@pytest.mark.usefixtures("failing", "channel")
def test_no_secret_is_in_any_file_of_the_instance_nor_in_the_store(home: Path, home_store: Store) -> None:
    secrets = (CRM_TOKEN, COMM_KEY, CHANNEL_SECRET)
    files = [path for path in home.rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files if path.suffix != ".duckdb"}
    assert any(b"wrong_comm_key" in content for content in contents.values()), "words of the event log are found"
    found = {(name, secret) for name, content in contents.items() for secret in secrets if secret.encode() in content}
    assert found == set()

    # The database file is compressed, so it is asked.
    tables = [name for (name,) in rows(home_store, "SELECT table_name FROM duckdb_tables()")]
    assert "crm_deliveries" in tables
    text = "\n".join(repr(row) for name in tables for row in rows(home_store, f"SELECT * FROM {name}"))
    assert "who is Token" in text, "the CRM's own words are kept, without the token"
    assert [secret for secret in secrets if secret in text] == []
