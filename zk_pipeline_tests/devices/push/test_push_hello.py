"""Option blocks, registration and clock answers: stamps, time zones by family, nothing that requests templates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.protocol.record_layouts import decode_time
from zk_pipeline.devices.push.families import Family
from zk_pipeline.devices.push.hello import (
    TimeZoneForm,
    option_block,
    push_configuration,
    registered_block,
    registry_answer,
    registry_code,
    session_id,
    time_answer,
    timezone_value,
    utc_offset,
)

WINTER = datetime(2026, 1, 15, 12, 0, 7, tzinfo=UTC)
SUMMER = datetime(2026, 7, 15, 12, 0, 7, tzinfo=UTC)
SECRET = b"a secret of the store"


def options(family: Family = "A", *, stamps: dict[str, str] | None = None, zone: str = "UTC") -> dict[str, str]:
    block = option_block("SN-1", family, stamps=stamps or {}, zone=zone, at=WINTER)
    return dict(line.split("=", 1) for line in block.splitlines()[1:])


def test_an_option_block_begins_with_the_serial_number_and_ends_each_line() -> None:
    block = option_block("SN-1", "A", stamps={}, zone="UTC", at=WINTER)
    assert block.startswith("GET OPTION FROM: SN-1\n")
    assert block.endswith("\n")
    assert "\r" not in block
    assert "" not in block.splitlines()


def test_a_stamp_is_given_back_exactly_in_the_names_of_old_and_new_firmware() -> None:
    found = options(stamps={"ATTLOG": "0009999", "OPERLOG": "None", "ATTPHOTO": "2011-04-05T17:40:20", "BIODATA": "7"})
    assert (found["Stamp"], found["ATTLOGStamp"]) == ("0009999", "0009999")
    assert (found["OpStamp"], found["OPERLOGStamp"]) == ("None", "None")
    assert (found["PhotoStamp"], found["ATTPHOTOStamp"]) == ("2011-04-05T17:40:20",) * 2
    assert found["BIODATAStamp"] == "7"


def test_a_stamp_that_was_never_received_requests_the_whole_log_until_the_first_upload() -> None:
    before = options()
    assert {name: value for name, value in before.items() if "Stamp" in name} == {
        "Stamp": "0",
        "OpStamp": "0",
        "ATTLOGStamp": "0",
        "OPERLOGStamp": "0",
    }
    assert options(stamps={"ATTLOG": "123"})["Stamp"] == "123"


def test_neither_photos_nor_templates_are_requested() -> None:
    assert options()["TransFlag"] == "TransData AttLog\tOpLog\tEnrollUser\tChgUser"


def test_an_option_block_forces_neither_encryption_nor_a_protocol_version() -> None:
    found = options()
    assert found["Encrypt"] == "0"
    assert not {"PushProtVer", "ServerVer", "EncryptFlag"} & found.keys()


def test_punches_come_in_real_time_and_a_failed_upload_is_repeated_after_half_a_minute() -> None:
    found = options()
    assert (found["Realtime"], found["ErrorDelay"], found["Delay"]) == ("1", "30", "10")


@pytest.mark.parametrize(
    ("zone", "at", "family", "form", "value"),
    [
        ("Europe/Berlin", WINTER, "A", None, "1"),
        ("Europe/Berlin", SUMMER, "A", None, "2"),
        ("America/New_York", WINTER, "A", None, "-5"),
        ("UTC", WINTER, "A", None, "0"),
        ("Pacific/Kiritimati", WINTER, "A", None, "14"),
        ("Asia/Kolkata", WINTER, "A", None, "330"),
        ("Asia/Kathmandu", WINTER, "A", None, "345"),
        ("America/St_Johns", WINTER, "A", None, "-210"),
        ("Asia/Kolkata", WINTER, "B", None, "+05:30"),
        ("America/St_Johns", WINTER, "B", None, "-03:30"),
        ("America/New_York", SUMMER, "B", None, "-04:00"),
        ("Europe/Berlin", WINTER, "A", "minutes", "60"),
        ("America/New_York", WINTER, "B", "minutes", "-300"),
        ("Europe/Berlin", WINTER, "A", "offset", "+01:00"),
        ("Asia/Kolkata", WINTER, "B", "hours", "330"),
    ],
)
def test_the_offset_of_the_day_is_sent_in_the_form_of_the_family_or_the_device(
    zone: str, at: datetime, family: Family, form: TimeZoneForm | None, value: str
) -> None:
    block = option_block("SN-1", family, stamps={}, zone=zone, at=at, timezone_form=form)
    assert f"\nTimeZone={value}\n" in block


def test_an_offset_with_seconds_is_rounded_down_to_minutes() -> None:
    assert timezone_value(timedelta(hours=1, seconds=59), "hours") == "1"


def test_the_codes_of_a_registration_are_stable_different_per_terminal_and_secret() -> None:
    assert registry_answer("SN-1", SECRET) == f"RegistryCode={registry_code('SN-1', SECRET)}"
    codes = [
        *(registry_code(serial, secret) for serial in ("SN-1", "SN-2") for secret in (SECRET, b"another")),
        session_id("SN-1", SECRET),
    ]
    assert len(set(codes)) == 5
    assert all(len(code) == 32 and code.isalnum() for code in codes)
    assert codes[0] == registry_code("SN-1", SECRET)


def test_a_registered_terminal_gets_its_code_and_session_again_at_each_hello() -> None:
    block = registered_block("SN-1", SECRET)
    assert block.startswith("registry=ok\nRegistryCode=")
    for line in (f"SessionID={session_id('SN-1', SECRET)}", "TransTables=User Transaction", "Realtime=1"):
        assert f"\n{line}\n" in block
        assert f"\n{line}\n" in push_configuration("SN-1", SECRET)
    assert block.count("RegistryCode") == 1
    assert "PushProtVer" not in block


def test_the_clock_of_family_b_gets_the_wall_clock_with_its_offset() -> None:
    assert time_answer("cdata", zone="Asia/Kolkata", at=WINTER) == "Time=2026-01-15T17:30:07+05:30"
    assert time_answer("cdata", zone="America/New_York", at=SUMMER) == "Time=2026-07-15T08:00:07-04:00"


def test_the_clock_of_family_c_gets_utc_in_the_terminals_encoding_and_the_offset() -> None:
    answer = time_answer("rtdata", zone="America/St_Johns", at=WINTER)
    seconds, offset = answer.removeprefix("DateTime=").split(",ServerTZ=")
    assert decode_time(int(seconds)) == WINTER.replace(tzinfo=None)
    assert offset == "-0330"


def test_the_offset_of_a_zone_is_that_of_the_instant() -> None:
    assert utc_offset("Europe/Berlin", WINTER) == timedelta(hours=1)
    assert utc_offset("Europe/Berlin", SUMMER) == timedelta(hours=2)
    assert utc_offset("America/St_Johns", WINTER) == -timedelta(hours=3, minutes=30)
