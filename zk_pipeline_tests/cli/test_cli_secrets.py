"""The CRM token never appears in output, logs, events or process lists."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from zk_pipeline.cli.main import run
from zk_pipeline.simulator.crm.faults import Fault, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process, rows

TOKEN = "s3cret/token+of=42"
FORMS = [form.encode() for form in (TOKEN, json.dumps(TOKEN).replace("/", "\\/")[1:-1], quote(TOKEN, safe=""))]
COMMANDS = [
    ["sync", "--dry-run"],
    ["test-crm"],
    ["test-crm", "--json"],
    ["sync"],
    ["sync", "--retry-failed", "--json"],
    ["test-crm", "--stats"],
    ["status", "--json"],
]
COMMANDS_WITH_FILE = [["test-crm", "--json"], ["sync"]]


@pytest.fixture
def repeating_crm(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrmReceiver]:  # noqa: ARG001
    """A CRM that repeats the token in every response: record errors, server errors, set-up errors."""
    statuses = [422, 500, 500, 500, 201, 401]

    def repeat(received: object) -> Fault:
        status = statuses[(getattr(received, "number", 1) - 1) % len(statuses)]
        trouble = refusal(status, detail=f"Authorization: Token {TOKEN} / {quote(TOKEN, safe='')} is what you sent")
        return trouble if status != 201 else Fault()

    with CrmReceiver(token=TOKEN, fault_rule=repeat) as receiver:
        monkeypatch.setenv("CRM_API_URL", receiver.url)
        monkeypatch.setenv("CRM_CONCURRENCY", "1")
        yield receiver


def days_due(store: Store) -> None:
    store.devices.add(device("Gate"))
    users = [f"U{number}" for number in range(6)]
    ingest(store, "Gate", *(punch for user in users for punch in on(MONDAY, "09:00", "18:00", user_id=user)))
    process(store, MONDAY)


def real_process(command: list[str]) -> tuple[bytes, ...]:
    """Command line as others see it, stdout, and stderr with the log of the run."""
    running = subprocess.Popen(
        [sys.executable, "-m", "zk_pipeline", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    seen = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    return seen, *running.communicate(timeout=60)


def in_process(command: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[bytes, ...]:
    run(command)
    printed = capfd.readouterr()
    return printed.out.encode(), printed.err.encode()


@pytest.fixture(params=["CRM_API_TOKEN", "CRM_API_TOKEN_FILE"])
def token(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The token as a variable, or in a file that a variable names; the name of the variable."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.setenv(request.param, TOKEN if request.param == "CRM_API_TOKEN" else str(file))
    return str(request.param)


@pytest.mark.timeout(300)
def test_the_token_is_in_nothing_that_is_written_printed_or_seen_by_others(
    home: Path, home_store: Store, repeating_crm: CrmReceiver, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    days_due(home_store)
    for command in COMMANDS if token == "CRM_API_TOKEN" else COMMANDS_WITH_FILE:
        is_process = command == ["test-crm"]
        for text in real_process(command) if is_process else in_process(command, capfd):
            assert not any(form in text for form in FORMS), (command, text)
    assert repeating_crm.posts >= 6
    errors = rows(home_store, "SELECT last_error FROM crm_deliveries WHERE last_error IS NOT NULL")
    assert errors
    assert all("[hidden]" in error for (error,) in errors)
    assert rows(home_store, "SELECT count(*) > 0 FROM crm_attempts WHERE outcome = 'misconfigured'") == [(True,)]
    written = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written), "Dagster's event logs"
    for path in written:
        content = path.read_bytes()
        assert not any(form in content for form in FORMS), path
