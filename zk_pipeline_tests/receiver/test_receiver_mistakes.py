"""Mistakes of public receivers, one test each: punches lost, doubled, refused without end, or with a wrong time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.push.uploads import PushUpload, StoredUpload
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import (
    QUICK,
    SERIAL,
    Served,
    adopt,
    line,
    punches,
    quarantined,
    receiver_of,
    serve,
)
from zk_pipeline_tests.store.store_fixtures import StoppedClock, busy
from zk_pipeline_tests.waiting import child, until

NINE = "2026-06-01 09:00:00"
# Opens the file between two transactions of the receiver, and keeps it open.
FOREIGN = """
import duckdb, sys, time
while True:
    try:
        connection = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        time.sleep(0.01)
print("open", flush=True)
sys.stdin.read()
"""


def test_acknowledged_before_it_is_stored(adopted: Store) -> None:
    impatient = Store(Database(adopted.database.where, wait_seconds=0.1, foreign_wait_seconds=0.1), adopted.clock)
    with serve(receiver_of(impatient)) as served:
        with busy(adopted, "a long run"):
            refused = served.post("cdata", line("1", NINE), table="ATTLOG", Stamp="7")
            assert (refused.status_code, refused.text) == (503, "")
            assert served.get("getrequest").text == "OK"  # a heartbeat needs no store
        assert served.get("cdata", options="all").text.splitlines()[1] == "Stamp=0"
        assert served.post("cdata", line("1", NINE), table="ATTLOG", Stamp="7").text == "OK: 1"
    assert punches(adopted) == [("1", NINE, "Gate")]


@pytest.mark.file_engine
def test_a_store_that_another_program_has_open_is_not_ready_and_acknowledges_nothing(
    adopted: Store, caplog: pytest.LogCaptureFixture
) -> None:
    impatient = Database(adopted.database.where, foreign_wait_seconds=0.05, slow_hold_seconds=0.0)
    with serve(receiver_of(Store(impatient, adopted.clock)), replace(QUICK, certainty=0.2)) as served:
        until(lambda: served.get("../health/ready").text == "ready")
        with child(FOREIGN, adopted.database.path) as program:
            assert program.hear() == "open"
            until(lambda: served.get("../health/ready").status_code == 503)
            assert served.get("../health/ready").text == "not ready: StoreBusy"
            caplog.clear()
            assert served.post("cdata", line("1", NINE), table="ATTLOG").status_code == 503
            assert "which is not zk_pipeline" in caplog.text
            assert "store lock held" not in caplog.text  # it was held to wait for the other program
        until(lambda: served.get("../health/ready").text == "ready")
        assert served.post("cdata", line("1", NINE), table="ATTLOG").text == "OK: 1"


def test_contacts_forgotten_while_the_store_is_busy(adopted: Store, caplog: pytest.LogCaptureFixture) -> None:
    impatient = Store(Database(adopted.database.where, wait_seconds=0.1, foreign_wait_seconds=0.1), adopted.clock)
    with serve(receiver_of(impatient)) as served:
        with busy(adopted, "a long run"):
            assert served.get("getrequest", INFO="Ver,3,0,77,10.0.0.1").text == "OK"
            until(lambda: "the store cannot be used (contacts)" in caplog.text)
        until(lambda: adopted.push.terminals()[0].record_count == 77)


def test_unreadable_lines_dropped_and_their_batch_acknowledged(served: Served, adopted: Store) -> None:
    body = line("1", NINE) + b"1\tnot a time\t0\t1\n" + line("2", NINE)
    assert served.post("cdata", body, table="ATTLOG").text == "OK: 3"
    assert [user for user, _, _ in punches(adopted)] == ["1", "2"]
    ((record_format, raw, reason),) = quarantined(adopted)
    assert (record_format, raw) == ("ATTLOG", b"1\tnot a time\t0\t1")
    assert reason


def test_no_unique_key_so_that_each_repetition_doubles(served: Served, adopted: Store) -> None:
    body = line("1", NINE) + b"garbage\n"
    assert [served.post("cdata", body, table="ATTLOG").text for _ in range(3)] == ["OK: 2"] * 3
    assert (len(punches(adopted)), len(quarantined(adopted))) == (1, 1)


@pytest.mark.parametrize("table", ["ATTLOG", "OPERLOG", "BIODATA", "UNKNOWNLOG"])
def test_a_plain_ok_after_which_the_batch_comes_again(table: str, served: Served) -> None:
    body = b"OPLOG 4\t0\t2026-06-01 09:00:00\t0\t0\t0\t0\nsecond line\n"
    assert served.post("cdata", body, table=table).text == "OK: 2"


def test_table_data_answered_with_a_plain_ok_comes_again(served: Served) -> None:
    body = b"user uid=1\tcardno=\tpin=7\tpassword=123\tgroup=1\tname=Ada\tprivilege=0\n"
    assert served.post("cdata", body, table="tabledata", tablename="user", count="1").text == "user=1"


@pytest.mark.parametrize(
    "stamp",
    [
        "2011-04-05T17:40:20",
        "9999",
        *(pytest.param(stamp, marks=pytest.mark.matrix) for stamp in ("82983982", "None")),
    ],
)
def test_stamps_invented_compared_or_forgotten(stamp: str, served: Served, adopted: Store, clock: StoppedClock) -> None:
    def saved(served: Served) -> list[str]:
        lines = served.get("cdata", options="all").text.splitlines()
        return [one for one in lines if one.split("=")[0] in ("Stamp", "ATTLOGStamp")]

    assert saved(served) == ["Stamp=0", "ATTLOGStamp=0"]  # never received: the documented "send everything"
    served.post("cdata", line("1", NINE), table="ATTLOG", Stamp="zzz")
    served.post("cdata", line("2", NINE), table="ATTLOG", Stamp=stamp)
    assert saved(served) == [f"Stamp={stamp}", f"ATTLOGStamp={stamp}"]
    clock.go(hours=1)
    with serve(receiver_of(adopted)) as restarted:
        assert saved(restarted) == [f"Stamp={stamp}", f"ATTLOGStamp={stamp}"]


ZONES = {
    "UTC": "0", "Africa/Nairobi": "3", "America/Bogota": "-5", "Asia/Kolkata": "330", "Asia/Kathmandu": "345",
    "Australia/Adelaide": "570", "Europe/Berlin": "2",
}  # fmt: skip


def test_a_missing_or_ambiguous_time_zone_moves_the_clock(store: Store) -> None:
    for number, zone in enumerate(ZONES):
        adopt(store, f"SN{number}", f"Gate {number}", zone=zone)
    with serve(receiver_of(store)) as served:
        for number, (zone, value) in enumerate(ZONES.items()):
            hello = served.get("cdata", SN=f"SN{number}", options="all")
            assert f"TimeZone={value}" in hello.text.splitlines(), zone
            assert hello.headers["date"] == "Mon, 01 Jun 2026 12:00:00 GMT"


def test_an_answer_500_to_one_poison_record_without_end(served: Served, adopted: Store) -> None:
    store_uploads = served.receiver.commits.store

    def failing(uploads: Sequence[PushUpload]) -> list[StoredUpload | None]:
        if any(punch.user_id == "666" for one in uploads for punch in one.parsed.punches):
            raise ValueError("a value that no column can have")
        return store_uploads(uploads)

    served.receiver.commits.store = failing
    poison = line("666", NINE) + line("1", NINE)
    assert served.post("cdata", poison, table="ATTLOG", Stamp="5").text == "OK: 2"
    assert served.post("cdata", line("2", NINE), table="ATTLOG", Stamp="6").text == "OK: 1"
    assert [user for user, _, _ in punches(adopted)] == ["2"]
    assert [(raw, reason) for _, raw, reason in quarantined(adopted)] == [
        (line("1", NINE).rstrip(), "not storable: ValueError"),
        (line("666", NINE).rstrip(), "not storable: ValueError"),
    ]


def test_user_ids_and_states_as_numbers(served: Served, adopted: Store) -> None:
    body = line("007", NINE) + line("7", NINE) + line("AB-12", NINE) + f"9\t{NINE}\t255\t15\n".encode()
    assert served.post("cdata", body, table="ATTLOG").text == "OK: 4"
    assert [user for user, _, _ in punches(adopted)] == ["007", "7", "9", "AB-12"]


@pytest.mark.parametrize("parameters", [{"table": "FUTURELOG"}, {"table": "tabledata", "tablename": "future"}])
def test_an_unknown_table_acknowledged_without_reading(
    parameters: dict[str, str], served: Served, adopted: Store
) -> None:
    assert served.post("cdata", b"a=1\tb=2\nc=3\n", **parameters).status_code == 200
    assert [raw for _, raw, _ in quarantined(adopted)] == [b"a=1\tb=2", b"c=3"]


@pytest.mark.parametrize("suffix", [pytest.param("", marks=pytest.mark.matrix), ".aspx"])
def test_a_path_not_found_so_that_the_terminal_stays_offline(suffix: str, served: Served) -> None:
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "cdata", {"options": "all"}), ("GET", "cdata", {"type": "time"}), ("GET", "getrequest", {}),
        ("POST", "devicecmd", {}), ("GET", "ping", {}), ("POST", "fdata", {"PIN": "1"}),
        ("POST", "cdata", {"table": "options"}), ("GET", "cdata", {"table": "RemoteAtt", "PIN": "7"}),
        ("POST", "registry", {}), ("GET", "registry", {}), ("POST", "push", {}), ("GET", "push", {}),
        ("POST", "rtdata", {"type": "time"}), ("POST", "cdata", {"table": "rtstate"}),
        ("POST", "querydata", {"type": "tabledata", "tablename": "user"}), ("POST", "querydata", {"type": "count"}),
        ("POST", "cdata", {"AuthType": "CARD"}), ("POST", "cdata", {"type": "PostVerifyData"}),
    ]  # fmt: skip
    answers = [served.send(method, f"{path}{suffix}", b"", **more).status_code for method, path, more in requests]
    assert answers == [200] * len(requests)


def test_a_registration_answered_with_ok_repeats_without_end(served: Served, adopted: Store) -> None:
    hello = {"options": "all", "pushver": "3.1.2", "DeviceType": "acc"}
    assert served.get("cdata", **hello).text == "OK"
    code = served.post("registry", b"DeviceType=acc,~DeviceName=F18").text
    assert code.startswith("RegistryCode=")
    assert "\n" not in code
    assert code in served.get("cdata", **hello).text.splitlines()
    with serve(receiver_of(adopted)) as restarted:  # the codes are stable, and so is the family
        assert restarted.post("registry", b"").text == code
        assert code in restarted.get("cdata", **hello).text.splitlines()


def test_commands_forgotten_as_soon_as_they_are_sent(served: Served, adopted: Store, clock: StoppedClock) -> None:
    number = adopted.push.queue(SERIAL, PushCommand(kind="info"), by="test")
    until(lambda: served.receiver.registry.commands(SERIAL))
    assert served.get("getrequest").text == f"C:{number}:INFO\n"
    assert served.get("getrequest").text == "OK"
    until(lambda: adopted.push.commands(SERIAL)[0].state == "sent")
    clock.go(seconds=60)  # its answer was lost
    assert served.get("getrequest").text == f"C:{number}:INFO\n"
    assert served.post("devicecmd", f"ID={number}&Return=0&CMD=INFO\n".encode()).text == "OK"
    (command,) = adopted.push.commands(SERIAL)
    assert (command.state, command.return_code) == ("done", 0)
    clock.go(seconds=60)
    assert served.get("getrequest").text == "OK"


def test_the_word_sn_in_place_of_the_serial_number(served: Served) -> None:
    assert served.get("cdata", options="all").text.startswith(f"GET OPTION FROM: {SERIAL}\n")


def test_a_hello_for_an_unknown_terminal_so_that_it_uploads_before_it_is_adopted(
    served: Served, adopted: Store
) -> None:
    for _ in range(2):
        answers = [
            served.get("cdata", options="all", SN="STRANGER1"),
            served.post("cdata", line("1", NINE), table="ATTLOG", SN="STRANGER1"),
            served.get("getrequest", SN="STRANGER1", INFO="1,2,3,4"),
        ]
        assert {(one.status_code, one.text) for one in answers} == {(503, "")}
    until(lambda: [one.device for one in adopted.push.terminals() if one.serial_number == "STRANGER1"] == [None])
    assert (punches(adopted), quarantined(adopted)) == ([], [])
    adopted.push.adopt("STRANGER1", "Dock", timezone="UTC", default_timezone="UTC", site=None, by="test")
    until(lambda: served.get("cdata", options="all", SN="STRANGER1").status_code == 200)
    served.post("cdata", line("1", NINE), table="ATTLOG", SN="STRANGER1")
    assert punches(adopted) == [("1", NINE, "Dock")]


def test_a_terminal_shown_as_online_while_its_punches_are_discarded(adopted: Store) -> None:
    slow = receiver_of(adopted)
    with serve(slow) as served:
        assert served.get("getrequest").text == "OK"
        adopted.devices.update("Gate", enabled=False)
        assert served.post("cdata", line("1", NINE), table="ATTLOG").status_code == 503
        until(lambda: served.get("getrequest").status_code == 503)
        adopted.devices.update("Gate", enabled=True)
        until(lambda: served.get("getrequest").status_code == 200)
        assert served.post("cdata", line("1", NINE), table="ATTLOG").text == "OK: 1"
    assert punches(adopted) == [("1", NINE, "Gate")]


def test_one_request_of_access_control_that_changes_the_family_without_end(served: Served) -> None:
    served.post("cdata", b"time=2026-06-01 09:00:00\tpin=1\tevent=0", table="rtlog")
    assert served.get("cdata", options="all").text.startswith("registry=ok\n")
    served.post("cdata", line("1", "2026-06-01 09:00:00"), table="ATTLOG")
    assert served.get("cdata", options="all").text.startswith(f"GET OPTION FROM: {SERIAL}\n")
