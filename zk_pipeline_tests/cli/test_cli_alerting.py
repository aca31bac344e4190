"""`watchdog` and `alert-test`: exit codes, what they say, what arrives."""

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


def beat(seconds_ago: float) -> None:
    with dg.DagsterInstance.get() as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - seconds_ago, kind, "id", []))


def test_a_daemon_that_does_not_beat_is_told_once_without_it_and_once_when_it_does(
    zk: CommandLine, channel: Channel
) -> None:
    beat(300)
    said = zk("watchdog")
    assert said.code == 1
    assert "no heartbeat for 5 min" in said.out
    assert zk("watchdog").code == 1
    assert channel.titles == ["zk_pipeline: Dagster daemon heartbeat missing"]
    beat(0)
    said = zk("watchdog", "--json")
    assert said.json == {"alive": True, "problem": None, "channels": 1, "failures": []}
    assert channel.titles[1:] == ["zk_pipeline: resolved: Dagster daemon heartbeat missing"]


def test_a_store_that_cannot_be_used_is_told_once_too(zk: CommandLine, home: Path, channel: Channel) -> None:
    beat(0)
    (home / "data" / "attendance.duckdb").write_bytes(b"no database at all, but long enough to look at" * 100)
    assert [zk("watchdog").code for _ in range(2)] == [1, 1]
    assert channel.titles == ["zk_pipeline: the store cannot be used"]


@pytest.mark.usefixtures("home")
def test_without_a_channel_the_watchdog_says_that_nobody_was_told(zk: CommandLine) -> None:
    said = zk("watchdog")
    assert (said.code, said.err) == (1, "zk-pipeline: ALERT_URLS is not set: nobody was told\n")
    assert "no heartbeat yet" in said.out


def test_a_test_message_goes_to_every_channel(
    zk: CommandLine, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URLS", f"{channel.at('one')} critical+crm={channel.at('two')}")
    said = zk("alert-test", "--json")
    assert [(row["hears_of"], row["result"]) for row in said.json] == [
        ("everything", "sent"),
        ("critical and crm", "sent"),
    ]
    assert channel.paths == ["/one", "/two"]
    channel.status = 500
    said = zk("alert-test")
    assert said.code == 1
    assert "did not accept the message" in said.out
    assert CHANNEL_SECRET not in said.out + said.err


@pytest.mark.usefixtures("home")
def test_a_test_of_an_address_that_is_none_is_a_wrong_setting(zk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_URLS", f"nonsense://{CHANNEL_SECRET}")
    said = zk("alert-test")
    assert said.code == 2
    assert "is not an Apprise URL" in said.out
    assert CHANNEL_SECRET not in said.out + said.err


@pytest.mark.usefixtures("home")
def test_a_test_without_a_channel_fails(zk: CommandLine) -> None:
    said = zk("alert-test")
    assert (said.code, said.err) == (2, "zk-pipeline: ALERT_URLS is not set: nobody would be told of anything\n")


def test_an_unknown_route_is_refused_without_showing_the_address(
    zk: CommandLine, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URLS", f"crit={channel.url}")
    said = zk("alert-test")
    assert said.is_refusal()
    assert "ALERT_URLS" in said.err
    assert "number 1 is for crit" in said.err
    assert CHANNEL_SECRET not in said.err
