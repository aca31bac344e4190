"""Alert messages and their times: decisions over a real store, messages to a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr

from zk_pipeline.operations.alerting.channels import parse_channels
from zk_pipeline.operations.alerting.messages import Observation, decide, note, send_due
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.store import Store
from zk_pipeline_tests.channel import Channel, listening
from zk_pipeline_tests.store.store_fixtures import StoppedClock, execute, rows, store_at

KINDS = ("device", "run", "check", "tick", "crm", "daemon")
DAY = timedelta(hours=24)


def silent(name: str = "Gate", severity: str = "warning", body: str = "no answer") -> Problem:
    return Problem(
        key=f"device:{name}",
        kind="device",
        severity=severity,
        owner="terminals",
        title=f"{name} is not read",
        body=body,
    )


def failed(job: str = "sync_to_crm", body: str = "the CRM said 500\nRun 7") -> Problem:
    return Problem(key=f"run:{job}", kind="run", severity="critical", owner="crm", title=f"{job} failed", body=body)


@pytest.fixture
def channel() -> Iterator[Channel]:
    with listening() as channel:
        yield channel


class Watch:
    """Evaluates the current problems, and sends messages."""

    def __init__(self, store: Store, clock: StoppedClock, urls: str) -> None:
        self.store, self.clock, self.urls = store, clock, urls

    def look(self, *problems: Problem, kinds: Sequence[str] = KINDS, reminder: timedelta = DAY) -> list[str]:
        """What went wrong in telling."""
        channels = parse_channels(SecretStr(self.urls))
        look = Observation(problems, kinds, self.clock())
        self.store.alerts.update(partial(decide, look=look, channels=channels, reminder=reminder))
        return send_due(self.store, channels)[1]

    def note(self, problem: Problem) -> None:
        self.store.alerts.update(partial(note, problem=problem))

    def later(self, *problems: Problem, **by: float) -> list[str]:
        self.clock.go(**by)
        return self.look(*problems)


@pytest.fixture
def watch(store: Store, clock: StoppedClock, channel: Channel) -> Watch:
    return Watch(store, clock, channel.url)


def test_a_problem_is_told_when_it_begins_and_when_it_ends_and_not_between(watch: Watch, channel: Channel) -> None:
    watch.look()
    assert channel.alerts == []
    watch.look(silent())
    watch.later(silent(), minutes=1)
    watch.later(silent(body="another word"), hours=23)
    assert channel.titles == ["zk_pipeline: Gate is not read"]
    assert channel.bodies == ["no answer\nSeverity: warning"]
    watch.later(minutes=30)
    watch.later(minutes=1)
    assert channel.titles[1:] == ["zk_pipeline: resolved: Gate is not read"]
    assert channel.bodies[1] == "- Gate is not read: resolved after 23 h 31 min"
    assert watch.store.alerts.waiting() == 0


def test_while_it_lasts_people_are_reminded_in_its_newest_words(watch: Watch, channel: Channel) -> None:
    watch.look(silent())
    watch.later(silent(body="and now refused"), hours=24)
    watch.later(silent(), minutes=1)
    watch.later(silent(), hours=24)
    assert channel.titles[1:] == ["zk_pipeline: still: Gate is not read"] * 2
    assert channel.bodies[1] == "and now refused\nUnresolved for 24 h 0 min.\nSeverity: warning"


def test_nobody_is_reminded_where_reminders_are_off(watch: Watch, channel: Channel) -> None:
    watch.look(silent(), reminder=timedelta(0))
    watch.clock.go(days=30)
    watch.look(silent(), reminder=timedelta(0))
    assert len(channel.alerts) == 1


def test_two_hundred_devices_are_one_message_that_names_some(watch: Watch, channel: Channel) -> None:
    watch.look(*(silent(f"Gate {number:03}") for number in range(200)))
    assert channel.titles == ["zk_pipeline: 200 devices are not read"]
    body = channel.bodies[0]
    assert "- Gate 000 is not read: no answer" in body
    assert "Gate 039 is not read" in body
    assert "Gate 040" not in body
    assert body.endswith("... and 160 more\nSeverity: warning")
    watch.later(*(silent(f"Gate {number:03}") for number in range(100)), minutes=1)
    assert channel.titles[1:] == ["zk_pipeline: resolved: 100 devices are not read"]


def test_what_begins_together_is_one_message_whatever_its_kinds(watch: Watch, channel: Channel) -> None:
    watch.look(silent(), failed())
    assert channel.titles == ["zk_pipeline: Gate is not read (and 1 more)"]
    assert "sync_to_crm failed\nthe CRM said 500\nRun 7" in channel.bodies[0]


def test_one_that_comes_and_goes_rings_once_an_hour_at_most(watch: Watch, channel: Channel) -> None:
    for _ in range(10):
        watch.later(silent(), minutes=3)
        watch.later(minutes=3)
    assert channel.titles == ["zk_pipeline: Gate is not read", "zk_pipeline: resolved: Gate is not read"]
    watch.later(silent(), minutes=3)
    watch.later(silent(), minutes=59)
    assert len(channel.alerts) == 3, "it lasts: notified once the hour is over"


def test_one_that_became_worse_is_told_again(watch: Watch, channel: Channel) -> None:
    watch.look(silent())
    watch.later(silent(severity="critical"), minutes=1)
    watch.later(silent(severity="critical"), minutes=1)
    assert len(channel.alerts) == 2


def test_a_run_that_failed_and_was_followed_by_a_good_one_is_told_all_the_same(watch: Watch, channel: Channel) -> None:
    watch.note(failed())
    watch.note(failed())
    watch.look()
    watch.look()
    assert channel.titles == ["zk_pipeline: sync_to_crm failed"]
    assert channel.bodies == ["the CRM said 500\nRun 7\nAlready resolved.\nSeverity: critical"]


def test_a_run_that_is_on_record_is_told_once_by_the_next_look(watch: Watch, channel: Channel) -> None:
    watch.note(failed())
    watch.look(failed())
    watch.look(failed())
    assert channel.titles == ["zk_pipeline: sync_to_crm failed"]


def test_a_kind_that_was_not_looked_at_stays_as_it_is(watch: Watch, channel: Channel) -> None:
    watch.look(silent())
    watch.look(kinds=["daemon"])
    watch.look(silent("Yard"), kinds=["daemon"])
    assert len(channel.alerts) == 1


def test_a_channel_that_is_down_loses_nothing_and_is_tried_again(watch: Watch, channel: Channel) -> None:
    channel.status = 500
    assert watch.look(silent()) == ["ALERT_URLS: number 1 (json) did not accept the message"]
    assert watch.look(silent()) == [], "not at once"
    assert len(channel.alerts) == 1
    assert watch.later(silent(), seconds=61) != []
    assert watch.later(silent(), failed(), seconds=30) != [], "what is new is tried at once"
    channel.status = 200
    assert watch.later(silent(), failed(), hours=1) == []
    assert channel.titles[-1] == "zk_pipeline: 2 alerts that could not be sent before"
    assert "Gate is not read\nno answer" in channel.bodies[-1]
    assert "sync_to_crm failed" in channel.bodies[-1]
    assert watch.store.alerts.waiting() == 0
    tried = len(channel.alerts)
    watch.later(silent(), failed(), hours=2)
    assert len(channel.alerts) == tried


def test_a_channel_that_took_it_is_not_told_again_because_another_did_not(watch: Watch, channel: Channel) -> None:
    with listening() as broken:
        broken.status = 503
        watch.urls = f"{broken.url} {channel.url}"
        watch.look(silent())
        for _ in range(3):
            watch.later(silent(), minutes=10)
        assert (len(broken.alerts), len(channel.alerts)) == (4, 1)


def test_without_a_channel_nothing_counts_as_told(watch: Watch, channel: Channel) -> None:
    url, watch.urls = watch.urls, ""
    watch.look(silent())
    watch.urls = url
    watch.later(silent(), minutes=1)
    assert channel.titles == ["zk_pipeline: Gate is not read"]


def test_each_channel_hears_what_it_is_for(watch: Watch, channel: Channel) -> None:
    watch.urls = f"critical={channel.at('pager')} terminals={channel.at('facility')} {channel.at('all')}"
    watch.look(silent(), failed())
    by_path = dict(zip(channel.paths, channel.titles, strict=True))
    assert by_path == {
        "/pager": "zk_pipeline: sync_to_crm failed",
        "/facility": "zk_pipeline: Gate is not read",
        "/all": "zk_pipeline: Gate is not read (and 1 more)",
    }


def test_two_that_look_at_once_tell_it_once(watch: Watch, channel: Channel) -> None:
    other = Watch(store_at(watch.store.database.where, watch.clock), watch.clock, watch.urls)
    channels = parse_channels(SecretStr(watch.urls))
    look = Observation([silent()], KINDS, watch.clock())

    def slow(known: Sequence[object]) -> object:
        if not known:
            other.look(silent())  # gets in between the first read and the write
        return decide(known, look, channels, DAY)  # type: ignore[arg-type]

    watch.store.alerts.update(slow)  # type: ignore[arg-type]
    send_due(watch.store, channels)
    assert len(channel.alerts) == 1


def test_old_alerts_and_messages_leave_the_store(watch: Watch) -> None:
    watch.look(silent())
    watch.later(minutes=1)
    watch.later(silent("Yard"), days=91)
    assert rows(watch.store, "SELECT key FROM alerts") == [("device:Yard",)]
    assert rows(watch.store, "SELECT count(*) FROM alert_messages") == [(1,)]


def test_a_message_names_its_severity_and_has_the_type_of_the_worst_problem(watch: Watch, channel: Channel) -> None:
    watch.look(silent(body="no answer\nSeverity: critical"))  # the text of a problem decides nothing
    watch.later(silent(), failed(), minutes=1)
    watch.later(minutes=1)
    assert [(one["type"], one["message"].splitlines()[-1].startswith("Severity")) for one in channel.alerts] == [
        ("warning", True),
        ("failure", True),
        ("success", False),
    ]
    assert channel.bodies[0].endswith("\nSeverity: warning")
    assert channel.bodies[1].endswith("\nSeverity: critical")


def test_a_message_that_was_stored_before_messages_had_types_is_a_warning(watch: Watch, channel: Channel) -> None:
    channel.status = 500
    watch.look(failed())
    execute(watch.store, "UPDATE alert_messages SET notify_type = NULL")
    channel.status = 200
    channel.alerts.clear()
    watch.later(failed(), hours=2)
    assert [one["type"] for one in channel.alerts] == ["warning"]


def test_messages_that_are_sent_together_have_the_type_of_the_worst(watch: Watch, channel: Channel) -> None:
    channel.status = 500
    watch.look(silent())
    watch.later(silent(), failed(), minutes=1)
    channel.status = 200
    channel.alerts.clear()
    watch.later(silent(), failed(), hours=2)
    assert [one["type"] for one in channel.alerts] == ["failure"]
