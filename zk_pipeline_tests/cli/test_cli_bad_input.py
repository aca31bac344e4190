"""Invalid input: one line that names the problem, exit code 2, no effect."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.cli import main
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.store.store_fixtures import device

TOMORROW_BUT_ONE = str((datetime.now(UTC) + timedelta(days=3)).date())

# Arguments, and a part of the message.
ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "unknown command": (["frobnicate"], "No such command 'frobnicate'"),
    "unknown subcommand": (["device", "frobnicate"], "No such command 'frobnicate'"),
    "unknown option": (["poll", "--frobnicate"], "No such option"),
    "option of another command": (["device", "update", "Gate 1", "--enabled"], "`zk-pipeline device enable NAME`"),
    "no such option, a near one": (["poll", "--wid"], "Did you mean '--wide'?"),
    "value of another name": (["export", "punches", "-o", "-"], "Did you mean 'raw'?"),
    "missing argument": (["device", "show"], "Missing argument 'NAME'"),
    "unknown device to poll": (["poll", "Gate 2"], "unknown device 'Gate 2'; did you mean Gate 1?"),
    "unknown device to test": (["test-device", "Nowhere"], "unknown device 'Nowhere'"),
    "unknown device to show": (["device", "show", "Nowhere"], "unknown device 'Nowhere'"),
    "unknown device to update": (["device", "update", "Nowhere", "--port", "4371"], "unknown device 'Nowhere'"),
    "unknown device to enable": (["device", "enable", "Nowhere"], "unknown device 'Nowhere'"),
    "unknown device to disable": (["device", "disable", "Nowhere"], "unknown device 'Nowhere'"),
    "unknown device to remove": (["device", "remove", "Nowhere"], "unknown device 'Nowhere'"),
    "unknown device to set": (["device", "set-clock", "Nowhere"], "unknown device 'Nowhere'"),
    "unknown device's users": (["device", "users", "Nowhere"], "unknown device 'Nowhere'"),
    "device twice": (["device", "add", "Gate 1", "192.0.2.10"], "'Gate 1' is registered already"),
    "IP address": (["device", "add", "New", "192.0.2.300"], "'192.0.2.300' is not a valid IP address"),
    "IPv6 address": (["device", "add", "New", "fe80::xyz"], "'fe80::xyz' is not a valid IP address"),
    "host name": (["device", "add", "New", "gate_1..example"], "'gate_1..example' is not valid"),
    "host with a command": (["device", "add", "New", "192.0.2.1;reboot"], "is not valid"),
    "host of an update": (["device", "update", "Gate 1", "--ip", "192.0.2"], "'192.0.2' is not a valid IP address"),
    "name of a device": (["device", "add", "a,b", "192.0.2.10"], "'a,b' is not valid"),
    "no site": (["device", "update", "Gate 1", "--site", ""], "site '' is not valid: it is empty"),
    "worker without a queue": (["worker"], "name a queue with --queue: dagster (all runs)"),
    "two lines as a name": (["device", "add", "a\nb", "192.0.2.10"], "it contains a control character"),
    "port 0": (["device", "add", "New", "192.0.2.10", "--port", "0"], "port '0' is not valid"),
    "port that is none": (["device", "add", "New", "192.0.2.10", "--port", "http"], "'http' is not a valid integer"),
    "time zone": (["device", "add", "New", "192.0.2.1", "--timezone", "Europe/Istambul"], "mean Europe/Istanbul?"),
    "encoding": (["device", "add", "New", "192.0.2.10", "--encoding", "klingon"], "encoding 'klingon' is not known"),
    "protocol": (["device", "add", "New", "192.0.2.10", "--protocol", "ipx"], "'ipx' is not one of"),
    "nothing to update": (["device", "update", "Gate 1"], "nothing to change"),
    "file that is not there": (["device", "apply", "no-such.yaml"], "'no-such.yaml' does not exist"),
    "names and --all": (["test-device", "Gate 1", "--all"], "either names or --all"),
    "date": (["process", "--date", "2026-13-01"], "'2026-13-01' is not a date"),
    "date as a word": (["process", "--date", "yesterday"], "'yesterday' is not a date"),
    "31 February": (["sync", "--start-date", "2026-02-31"], "'2026-02-31' is not a date"),
    "future date": (["process", "--date", TOMORROW_BUT_ONE], f"{TOMORROW_BUT_ONE} is in the future"),
    "date before history": (["process", "--date", "2019-12-31"], "before ZK_PIPELINE_HISTORY_START (2020-01-01)"),
    "end before start": (
        ["process", "--start-date", "2024-03-05", "--end-date", "2024-03-04"],
        "--end-date 2024-03-04 is before --start-date 2024-03-05",
    ),
    "end before start of a sync": (
        ["sync", "--start-date", "2024-03-05", "--end-date", "2024-03-04"],
        "--end-date 2024-03-04 is before --start-date 2024-03-05",
    ),
    "half a range": (["process", "--end-date", "2024-03-04"], "--start-date and --end-date must be given together"),
    "date and range": (
        ["process", "--date", "2024-03-04", "--start-date", "2024-03-04", "--end-date", "2024-03-04"],
        "either --date or --start-date and --end-date",
    ),
    "limit 0": (["sync", "--limit", "0"], "0 is not in the range x>=1"),
    "demo of no days": (["demo", "--days", "0"], "'--days': 0 is not in the range x>=1"),
    "demo without employees": (["demo", "--employees", "0"], "'--employees': 0 is not in the range x>=1"),
    "demo without terminals": (["demo", "--devices", "-1"], "'--devices': -1 is not in the range x>=1"),
    "demo on a port that is none": (["demo", "--port", "65536"], "65536 is not in the range 1<=x<=65535"),
    "simulation of no days": (["simulate", "--days", "0"], "'--days': 0 is not in the range x>=1"),
    "ports of terminals that push": (["simulate", "--push", "--port", "4370"], "leave it out with --push"),
    "a receiver of polled terminals": (["simulate", "--receiver", "http://h"], "add --push"),
    "an address of no receiver": (
        ["simulate", "--push", "--receiver", "https://h"], "receiver address 'https://h': write it as http://HOST:PORT"
    ),
    "simulation beyond the last port": (["simulate", "--port", "65534"], "leaves no room for 3 terminals"),
}  # fmt: skip


def test_wrong_arguments_are_refused_in_one_line_and_have_no_effect(zk: CommandLine, home_store: Store) -> None:
    home_store.devices.add(device("Gate 1"))
    before = home_store.devices.all()
    for case, (arguments, message) in ARGUMENTS.items():
        result = zk(*arguments)
        assert result.is_refusal(), case
        assert message in result.err, case
        assert home_store.devices.all() == before, case


# Files of devices, and a part of the message besides the file name.
FILES: dict[str, tuple[str | bytes, str]] = {
    "not YAML": ("devices: [", "cannot be read as YAML"),
    "not text": (b"\xff\xfe\x00", "cannot be read as YAML"),
    "empty": ("", "must be a mapping with the one key `devices`"),
    "a list": ("- name: Gate", "must be a mapping with the one key `devices`"),
    "another key": ("devices: []\nsites: []", "must be a mapping with the one key `devices`"),
    "no list": ("devices: Gate", "must be a mapping with the one key `devices`"),
    "an entry that is none": ("devices: [Gate]", "device number 1: entry: "),
    "no name": ("devices: [{ip: 192.0.2.1}]", "device number 1: name: Field required"),
    "no address": ("devices: [{name: Gate}]", "device 'Gate': ip_address: name an address as `ip`"),
    "unknown field": ("devices: [{name: Gate, ip: 192.0.2.1, colour: red}]", "device 'Gate': colour: "),
    "wrong address": ("devices: [{name: Gate, ip: 192.0.2.256}]", "'192.0.2.256' is not a valid IP address"),
    "a port of another base": ("devices: [{name: Gate, ip: 192.0.2.1, port: 010422}]", "port: '010422' is not a whole"),
    "the key itself": (
        "devices:\n- name: Gate\n  ip: 192.0.2.1\n  comm_key_env: 4711",
        "line 4, device 'Gate': comm_key_env: variable '4711' is not valid",
    ),
    "a field twice": ("devices:\n- {name: Gate, ip: 192.0.2.1, ip: 192.0.2.2}", "line 2: duplicate key 'ip'"),
    "wrong port": ("devices: [{name: Gate, ip: 192.0.2.1, port: 0}]", "port '0' is not valid"),
    "wrong zone": ("devices: [{name: Gate, ip: 192.0.2.1, timezone: Mars/Base}]", "time zone 'Mars/Base' is not known"),
    "wrong protocol": ("devices: [{name: Gate, ip: 192.0.2.1, protocol: ipx}]", "device 'Gate': protocol: "),
    "the same twice": (
        "devices: [{name: Gate, ip: 192.0.2.1}, {name: Gate, ip: 192.0.2.2}]",
        "device 'Gate' is declared 2 times",
    ),
    "the second wrong": ("devices: [{name: A, ip: 192.0.2.1}, {name: B, ip: 192.0.2.256}]", "device 'B': "),
}  # fmt: skip


def test_a_wrong_file_of_devices_is_refused_as_a_whole(zk: CommandLine, home_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "devices.yaml"
    for case, (content, message) in FILES.items():
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        result = zk("device", "apply", str(file))
        assert result.is_refusal(), case
        assert str(file) in result.err, case
        assert message in result.err, case
        assert home_store.devices.all() == [], case


def test_an_option_that_only_shares_its_dashes_is_not_suggested(zk: CommandLine) -> None:
    assert zk("poll", "--devic", "x").err == "zk-pipeline: No such option '--devic'. (see zk-pipeline poll --help)\n"


@pytest.mark.parametrize("command", ["status", "poll", "up"])
def test_a_malformed_setting_is_named_with_its_place(zk: CommandLine, bare_home: Path, command: str) -> None:
    bare_home.mkdir()
    (bare_home / ".env").write_text("WORK_START_TIME=quarter past nine\n")
    result = zk(command)
    assert result.is_refusal()
    where = f"WORK_START_TIME='quarter past nine' (in {bare_home / '.env'})"
    assert result.err == f"zk-pipeline: {where}: must be a time of day such as 09:00\n"


def test_an_exported_setting_that_is_wrong_is_named(
    zk: CommandLine, bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZK_PIPELINE_TIMEZONE", "Mars/Base")
    result = zk("status")
    assert result.is_refusal()
    assert "ZK_PIPELINE_TIMEZONE='Mars/Base' (exported): is not an IANA time zone" in result.err
    assert not (bare_home / "data").exists()


def unusable_databases(folder: Path) -> list[Path]:
    """A path below a file, a folder, a path of no file system to write, and a file that is something else."""
    (folder / "file").write_text("no database")
    (folder / "folder").mkdir()
    return [folder / "file" / "store.duckdb", folder / "folder", Path("/proc/store.duckdb"), folder / "file"]


@pytest.mark.parametrize("command", [["poll"], ["device", "list"], ["process"], ["up"], ["test-crm", "--stats"]])
@pytest.mark.usefixtures("bare_home")
def test_a_database_that_cannot_be_used_is_refused_by_every_command(
    zk: CommandLine, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unusable = unusable_databases(tmp_path)[-1]
    monkeypatch.setenv("ZK_PIPELINE_DATABASE", str(unusable))
    result = zk(*command)
    assert result.is_refusal()
    assert unusable.parent.as_posix() in result.err


@pytest.mark.usefixtures("bare_home")
def test_every_database_that_cannot_be_used_is_refused(
    zk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for unusable in unusable_databases(tmp_path):
        monkeypatch.setenv("ZK_PIPELINE_DATABASE", str(unusable))
        result = zk("status")
        assert result.is_refusal(), unusable
        assert unusable.parent.as_posix() in result.err


@pytest.mark.parametrize("command", [["status"], ["demo", "--no-ui"], ["up"]])
def test_a_home_that_cannot_be_written_is_refused(
    zk: CommandLine, bare_home: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_home.write_text("a file")
    for home in (bare_home, bare_home / "below"):
        monkeypatch.setenv("ZK_PIPELINE_HOME", str(home))
        result = zk(*command)
        assert result.is_refusal()
        assert str(home) in result.err


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize("command", ["demo", "up", "simulate"])
def test_a_port_that_is_taken_is_refused(zk: CommandLine, home: Path, taken_port: str, command: str) -> None:
    result = zk(command, "--port", taken_port)
    assert result.is_refusal()
    assert taken_port in result.err
    assert "address already in use" in result.err.lower()
    assert not (home / ".demo").exists()


@pytest.mark.parametrize(
    "cause",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("(sqlite3.OperationalError) disk I/O error")],
)
def test_a_full_disk_is_one_line_whatever_it_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cause: Exception
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("step failed") from cause

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run(["sync"]) == 1
    result = capsys.readouterr().err
    assert result.startswith("zk-pipeline: a disk is full or not writable (")
    assert result.count("\n") == 1
    monkeypatch.setattr(main, "_full_disk", lambda _: None)
    with pytest.raises(RuntimeError, match="step failed"):
        main.run(["sync"])
