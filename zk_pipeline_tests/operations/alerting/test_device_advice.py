"""Problems of devices for pages: the texts of alerts and checks, each with its remedy once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from zk_pipeline.config.settings import load_settings
from zk_pipeline.operations.alerting.device_advice import Advice, device_advice
from zk_pipeline.store.quality.quality import DeviceReach, Freshness, PushReach, Undelivered
from zk_pipeline.store.queries.terminal_health import TerminalHealth

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def advice(reach: Freshness, *health: TerminalHealth) -> dict[str, list[Advice]]:
    return device_advice(reach, health, load_settings({}), NOW)


def reach(*devices: DeviceReach, pushing: tuple[PushReach, ...] = (), **locked: datetime) -> Freshness:
    return Freshness(list(devices), {}, Undelivered(0, None, 0, None, None), locked, list(pushing))


def test_a_failing_terminal_has_its_error_and_the_remedy_of_the_check() -> None:
    failing = DeviceReach("North", NOW - timedelta(hours=3), NOW, "unreachable", "no answer within 5 s", "run", 0)
    well = DeviceReach("South", NOW, None, None, None, None, 0)
    found = advice(reach(failing, well))
    assert list(found) == ["North"]
    (one,) = found["North"]
    assert (one.severity, one.title) == ("warning", "North is not read")
    assert one.text.startswith("[unreachable] no answer within 5 s (last successful poll")
    assert "`zk-pipeline test-device NAME`" in one.remedy


def test_the_link_to_the_run_of_a_message_is_not_repeated() -> None:
    failing = DeviceReach("North", NOW, NOW, "unreachable", "no answer", "a-run", 0)
    settings = load_settings({"ZK_PIPELINE_UI_URL": "https://ui.example"})
    (one,) = device_advice(reach(failing), [], settings, NOW)["North"]
    assert "a-run" not in one.text


def test_a_text_that_names_its_command_has_no_second_remedy() -> None:
    missing = DeviceReach("North", NOW, None, None, None, None, 3)
    lost = PushReach("Yard", NOW, 2, NOW.date(), NOW.date(), None, None)
    found = advice(reach(missing, pushing=(lost,), South=NOW - timedelta(hours=1)))
    assert {device: [(one.title, one.remedy) for one in several] for device, several in found.items()} == {
        "South": [("South was left locked", "")],
        "North": [("North is not read", "")],
        "Yard": [("Punches of Yard are missing", "")],
    }


def test_a_wrong_clock_and_a_full_log_are_problems_of_their_device() -> None:
    health = TerminalHealth("Yard: main", NOW, 10, 10, -75.0, 0.85, None)
    well = TerminalHealth("North", NOW, 10, 10, 1.0, 0.1, None)
    (clock, log) = advice(reach(), health, well)["Yard: main"]
    assert (clock.title, clock.text) == ("The clock of Yard: main is wrong", "Off by -75 s")
    assert (log.title, log.text) == ("The log of Yard: main is nearly full", "Filled to 85%")
    assert "device set-clock NAME" in clock.remedy
    assert "device clear-log" in log.remedy
