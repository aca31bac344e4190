"""Channels of ALERT_URLS, and an alert through Apprise to a real HTTP server."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.alerting.channels import Alert, parse_channels
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline_tests.channel import CHANNEL_SECRET, Channel, listening

ALERT = Alert("zk_pipeline: poll_devices failed", "gate-2 | no answer\n\nRun 123")


@pytest.fixture
def receiver() -> Iterator[Channel]:
    with listening() as channel:
        yield channel


def send_to_all(urls: str) -> list[str]:
    """Send ALERT to every channel; what went wrong."""
    failures = []
    for one in parse_channels(SecretStr(urls)):
        try:
            one.send(ALERT)
        except ZkPipelineError as error:
            failures.append(str(error))
    return failures


def problem(severity: str, owner: str) -> Problem:
    return Problem(key="k", kind="check", severity=severity, owner=owner, title="", body="")


def test_an_alert_arrives_with_its_title_and_body(receiver: Channel) -> None:
    assert send_to_all(receiver.at("hook")) == []
    assert receiver.paths == ["/hook"]
    assert (receiver.titles, receiver.bodies) == ([ALERT.title], [ALERT.body])


@pytest.mark.parametrize("between", [",", " ", ", ", "\n", ",\n"])
def test_it_goes_to_every_channel(between: str, receiver: Channel) -> None:
    assert send_to_all(between.join([receiver.at("one"), f"critical={receiver.at('two')}", receiver.at("3")])) == []
    assert sorted(receiver.paths) == ["/3", "/one", "/two"]


def test_a_comma_may_be_part_of_an_address(receiver: Channel) -> None:
    assert send_to_all(receiver.at("to=a,b") + "," + receiver.at("two")) == []
    assert sorted(map(unquote, receiver.paths)) == ["/to=a,b", "/two"]


@pytest.mark.parametrize("nothing", ["", " ", ",", " ,\n"])
def test_without_an_address_there_is_no_channel(nothing: str) -> None:
    assert parse_channels(SecretStr(nothing)) == []
    assert parse_channels(None) == []


@pytest.mark.parametrize(
    ("routes", "heard"),
    [
        ("", {("critical", "crm"), ("critical", "terminals"), ("warning", "crm"), ("warning", "terminals")}),
        ("critical=", {("critical", "crm"), ("critical", "terminals")}),
        ("crm=", {("critical", "crm"), ("warning", "crm")}),
        ("crm+critical=", {("critical", "crm")}),
        ("crm+attendance=", {("critical", "crm"), ("warning", "crm")}),
        ("operations=", set()),
    ],
)
def test_a_channel_hears_of_what_it_is_for(routes: str, heard: set[tuple[str, str]]) -> None:
    (channel,) = parse_channels(SecretStr(f"{routes}slack://a/b/c"))
    every = [(severity, owner) for severity in ("critical", "warning") for owner in ("crm", "terminals")]
    assert {one for one in every if channel.accepts(problem(*one))} == heard


def test_a_channel_that_refuses_is_a_failure_without_its_address(receiver: Channel) -> None:
    receiver.status = 500
    (failure,) = send_to_all(receiver.at("s3cret"))
    assert failure == "ALERT_URLS: number 1 (json) did not accept the message"


def test_a_channel_that_is_down_is_named_by_its_place(receiver: Channel) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        dead = f"json://127.0.0.1:{taken.getsockname()[1]}/"
        assert send_to_all(f"{dead} {receiver.url}") == ["ALERT_URLS: number 1 (json) did not accept the message"]
    assert len(receiver.alerts) == 1


@pytest.mark.parametrize("wrong", ["nonsense-s3cret", "unheard-of://s3cret", "slack://s3cret"])
def test_what_is_no_address_is_told_by_its_place_and_never_shown(
    wrong: str, receiver: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        (failure,) = send_to_all(f"{receiver.url} {wrong}")
    assert failure.startswith("ALERT_URLS: number 2 (")
    assert failure.endswith(") is not an Apprise URL")
    assert "s3cret" not in failure + caplog.text
    assert len(receiver.alerts) == 1  # channels that can be reached get the message


def test_a_channel_is_shown_without_its_address(receiver: Channel) -> None:
    (channel,) = parse_channels(SecretStr(receiver.url))
    assert CHANNEL_SECRET not in repr(channel)
