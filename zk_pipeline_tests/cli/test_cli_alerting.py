"""`watchdog` and `test-alerts`: exit codes, output, delivered messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from zk_pipeline_tests.channel import CHANNEL_SECRET, Channel, listening
from zk_pipeline_tests.cli.command_fixtures import CommandLine


@pytest.fixture
def channel(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:  # noqa: ARG001 (clears the variables)
    with listening() as channel:
        monkeypatch.setenv("ALERT_URLS", channel.url)
        yield channel


def set_heartbeat(seconds_ago: float) -> None:
    with dg.DagsterInstance.get() as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - seconds_ago, kind, "id", []))


def test_a_missing_heartbeat_is_alerted_once_without_the_daemon_and_its_return_once(
    zk: CommandLine, channel: Channel
) -> None:
    set_heartbeat(300)
    result = zk("watchdog")
    assert result.code == 1
    assert "no heartbeat for 5 min" in result.out
    assert zk("watchdog").code == 1
    assert channel.titles == ["zk_pipeline: Dagster daemon heartbeat missing"]
    set_heartbeat(0)
    result = zk("watchdog", "--json")
    assert result.json == {"alive": True, "problem": None, "channels": 1, "failures": []}
    assert channel.titles[1:] == ["zk_pipeline: resolved: Dagster daemon heartbeat missing"]


def test_an_unusable_store_is_alerted_once(zk: CommandLine, home: Path, channel: Channel) -> None:
    set_heartbeat(0)
    (home / "data" / "attendance.duckdb").write_bytes(b"no database at all, but long enough to look at" * 100)
    assert [zk("watchdog").code for _ in range(2)] == [1, 1]
    assert channel.titles == ["zk_pipeline: the store cannot be used"]


@pytest.mark.usefixtures("home")
def test_without_a_channel_the_watchdog_reports_that_no_alert_was_sent(zk: CommandLine) -> None:
    result = zk("watchdog")
    assert (result.code, result.err) == (1, "zk-pipeline: ALERT_URLS is not set: no alert was sent\n")
    assert "no heartbeat yet" in result.out


def test_a_test_message_goes_to_every_channel(
    zk: CommandLine, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URLS", f"{channel.at('one')} critical+crm={channel.at('two')}")
    result = zk("test-alerts", "--json")
    assert [(row["receives"], row["result"]) for row in result.json] == [
        ("everything", "sent"),
        ("critical and crm", "sent"),
    ]
    assert channel.paths == ["/one", "/two"]
    channel.status = 500
    result = zk("test-alerts")
    assert result.code == 1
    assert "did not accept the message" in result.out
    assert CHANNEL_SECRET not in result.out + result.err


@pytest.mark.usefixtures("home")
def test_an_invalid_alert_url_is_a_wrong_setting(zk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_URLS", f"nonsense://{CHANNEL_SECRET}")
    result = zk("test-alerts")
    assert result.code == 2
    assert "is not an Apprise URL" in result.out
    assert CHANNEL_SECRET not in result.out + result.err


@pytest.mark.usefixtures("home")
def test_a_test_without_a_channel_fails(zk: CommandLine) -> None:
    result = zk("test-alerts")
    assert (result.code, result.err) == (2, "zk-pipeline: ALERT_URLS is not set: no alert can be sent\n")


def test_an_unknown_route_is_refused_without_showing_the_address(
    zk: CommandLine, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URLS", f"crit={channel.url}")
    result = zk("test-alerts")
    assert result.is_refusal()
    assert "ALERT_URLS" in result.err
    assert "number 1 is for crit" in result.err
    assert CHANNEL_SECRET not in result.err
