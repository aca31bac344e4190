"""Lines of OPERLOG: operations and users are kept, passwords, templates and photos never are."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

import gzip
import io
import random
import tarfile
from datetime import datetime

import pytest

from zk_pipeline.devices.push.archives import MAX_UNPACKED_BYTES
from zk_pipeline.devices.push.uploads import DeviceEvent, PushedUser, UnreadableBody
from zk_pipeline_tests.devices.push.push_bodies import parsed, parsed_bytes

AT = datetime(2026, 3, 2, 8, 41, 7)
TIME = "2026-03-02 08:41:07"
USER = PushedUser("104", "Jane", 14, 1234567, None)
USER_LINE = (
    "USER PIN=104\tName=Jane\tPri=14\tPasswd=4711\tCard=1234567\tGrp=1\tTZ=0000000100000000\tVerify=-1\tViceCard="
)


def archive(*files: bytes, format: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=format) as tar:
        for number, content in enumerate(files):
            member = tarfile.TarInfo(f"data/{number}.txt")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (f"OPLOG 21\t0\t{TIME}\t0\t0\t0\t0", DeviceEvent(21, "", AT, "0\t0\t0\t0", is_operation=True)),
        (f"OPLOG 30\t104\t{TIME}\t105\t0\t6\t0", DeviceEvent(30, "104", AT, "105\t0\t6\t0", is_operation=True)),
        (f"oplog 4\t\t{TIME}", DeviceEvent(4, "", AT, "", is_operation=True)),
        (f"OPLOG 23 0 {TIME} 0 0 0 0", DeviceEvent(23, "", AT, "0\t0\t0\t0", is_operation=True)),
    ],
)
def test_an_operation_is_an_event(line: str, event: DeviceEvent) -> None:
    upload = parsed("OPERLOG", line)
    assert (upload.events, upload.punches, upload.acknowledged) == ([event], [], "OK: 1")


def test_the_detail_of_an_event_has_a_limit() -> None:
    (event,) = parsed("OPERLOG", f"OPLOG 4\t0\t{TIME}\t{'9' * 5000}").events
    assert event.detail == "9" * 400


@pytest.mark.parametrize(
    ("line", "user"),
    [
        (USER_LINE, USER),
        ("USER PIN=007\tName=\tPri=0\tPasswd=\tCard=\tGrp=1", PushedUser("007", "", 0, 0, None)),
        ("user Card=1234567\tname=Jane\tpri=14\tpin=104", USER),
        ("USER PIN=104\tName=Jane\tPri=14\tCard=[87d6120000]", USER),
        ("USER PIN=104\tName=Jane\tPri=14\tCard=[87D61200]", USER),
        ("USER PIN=104\tName=A=B & C\tPri=x\tCard=none", PushedUser("104", "A=B & C", 0, 0, None)),
    ],
)
def test_a_user_is_read_without_the_password(line: str, user: PushedUser) -> None:
    for table in ("OPERLOG", "USERINFO"):
        upload = parsed(table, line)
        assert (upload.users, upload.acknowledged) == ([user], "OK: 1")
        assert "4711" not in repr(upload)


@pytest.mark.parametrize(
    ("encoding", "sent", "name"),
    [
        ("UTF-8", "utf-8", "Éloïse"),
        ("UTF-8", "gb18030", "王小芳"),
        ("cp1256", "cp1256", "موظف"),
        ("GBK", "gb18030", "王小芳"),
    ],
)
def test_a_name_is_read_in_the_encoding_of_the_device_or_of_the_firmware(encoding: str, sent: str, name: str) -> None:
    body = f"USER PIN=104\tName={name}\tPri=0".encode(sent)
    assert parsed_bytes("OPERLOG", body, encoding=encoding).users == [PushedUser("104", name, 0, 0, None)]


def test_a_name_in_no_encoding_does_not_reject_its_user() -> None:
    (user,) = parsed_bytes("OPERLOG", b"USER PIN=104\tName=Jo\xff\xffe\tPri=0").users
    assert (user.user_id, user.name) == ("104", "Jo\ufffd\ufffde")


@pytest.mark.parametrize(
    "line",
    [
        "FP PIN=104\tFID=1\tSize=1024\tValid=1\tTMP=VEVNUExBVEU=",
        "FACE PIN=104\tFID=0\tSIZE=1648\tVALID=1\tTMP=VEVNUExBVEU=",
        "FVEIN Pin=104\tFID=1\tIndex=0\tValid=1\tSize=9\tTmp=VEVNUExBVEU=",
        "BIOPHOTO PIN=104\tFileName=104.jpg\tType=9\tSize=9\tContent=VEVNUExBVEU=",
        "USERPIC PIN=104\tFileName=104.jpg\tSize=9\tContent=VEVNUExBVEU=",
        "FP",
    ],
)
def test_a_template_or_photo_is_dropped_and_counted(line: str) -> None:
    upload = parsed("OPERLOG", line, USER_LINE)
    assert (upload.users, upload.dropped, upload.acknowledged) == ([USER], 1, "OK: 2")
    assert "VEVNUExBVEU" not in repr(upload)


def test_a_user_and_an_operation_among_templates_are_read() -> None:
    template = "BIODATA Pin=104\tNo=6\tIndex=0\tValid=1\tType=1\tTmp=VEVNUExBVEU="
    for table in ("BIODATA", "FINGERTMP"):
        upload = parsed(table, f"OPLOG 6\t0\t{TIME}\t104\t6\t0\t0", USER_LINE, template, "Tmp=VEVNUExBVEU=")
        assert (upload.users, len(upload.events), upload.dropped) == ([USER], 1, 2)
        assert upload.acknowledged == "OK: 4"
        assert "VEVNUExBVEU" not in repr(upload)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("USER PIN=\tName=Jane\tPri=14\tPasswd=4711\tCard=1", b"USER PIN=\tName=Jane\tPri=14\tCard=1"),
        ("USER Name=Jane\tPasswd=4711\tNew=4711", b"USER Name=Jane"),
        ("USER 104\tJane\t4711", b"USER"),
        ("USER PIN=104 Name=Jane Passwd=4711 Pri=14", b"USER PIN=104 Name=Jane Passwd="),
        ("user\tPIN=\tPassWD = 4711", b"PIN="),
        ("USER PIN=\tPa\0sswd=4711", b"USER PIN="),
        ("USERINFO PIN=104\tPasswd=4711\tPri=1", b"USERINFO PIN=104\tPasswd=\tPri=1"),
        ("FINGERTMP PIN=104\tTMP=4711", b"FINGERTMP PIN=104\tTMP="),
        ("FINGERTMP PIN=104\tT\0MP=4711", b"FINGERTMP PIN=104\tTMP="),
        ("TEMPLATE PIN=1\tfptemplate1=4711\tvalid=1", b"TEMPLATE PIN=1\tfptemplate1=\tvalid=1"),
        ("PICTURE PIN=1\tContent=4711", b"PICTURE PIN=1\tContent="),
    ],
)
def test_a_rejected_line_is_kept_without_password_and_template(line: str, kept: bytes) -> None:
    upload = parsed("OPERLOG", line, USER_LINE)
    assert [one.raw for one in upload.rejected] == [kept]
    assert "4711" not in repr(upload)
    assert upload.acknowledged == "OK: 2"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("OPLOG x\t0\t2026-03-02 08:00:00\t0", "operation 'x' is no number"),
        ("OPLOG 4\t0", "2 fields, an operation has at least 3"),
        ("OPLOG 4\t0\t2026-13-02 08:00:00", "impossible date '2026-13-02 08:00:00'"),
        ("WORKCODE 7", "unknown type of line 'WORKCODE'"),
        ("=?", "the line has no type, such as OPLOG or USER"),
    ],
)
def test_an_unknown_or_unreadable_line_is_kept_with_its_reason(line: str, reason: str) -> None:
    assert parsed("OPERLOG", line, USER_LINE).rejected == [(line.encode(), reason)]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_lines_of_all_files_in_an_archive_are_read(tar_format: int) -> None:
    first = f"{USER_LINE}\nOPLOG 4\t0\t{TIME}\t0\t0\t0\t0".encode()
    body = archive(first, f"104\t{TIME}\t0\t1\t0\n".encode(), b"", format=tar_format)
    for parameters in ({"contenttype": "tgz"}, {}):
        upload = parsed_bytes("OPERLOG", body, **parameters)
        assert (upload.users, len(upload.events), len(upload.punches)) == ([USER], 1, 1)
        assert upload.acknowledged == "OK: 3"


def test_compressed_lines_without_an_archive_are_read() -> None:
    assert parsed_bytes("OPERLOG", gzip.compress(USER_LINE.encode()), contenttype="TGZ").users == [USER]


def test_an_archive_that_unpacks_to_too_much_is_not_acknowledged() -> None:
    bomb = gzip.compress(bytes(MAX_UNPACKED_BYTES + 1))
    assert len(bomb) < 100_000
    with pytest.raises(UnreadableBody, match="unpacks to more than 16 MB"):
        parsed_bytes("OPERLOG", bomb, contenttype="tgz")


def test_a_sparse_file_in_an_archive_is_not_expanded() -> None:
    member = tarfile.TarInfo("data")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"00400000000\0"  # 64 MB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(UnreadableBody, match="a sparse file of 67108864 bytes"):
        parsed_bytes("OPERLOG", gzip.compress(bytes(header) + bytes(1024)), contenttype="tgz")


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_folders_and_links_in_an_archive_have_no_lines(kind: bytes) -> None:
    member = tarfile.TarInfo("data")
    member.type, member.linkname = kind, "missing"
    upload = parsed_bytes("OPERLOG", gzip.compress(member.tobuf() + bytes(1024)), contenttype="tgz")
    assert (upload.lines, upload.acknowledged) == (0, "OK: 0")


@pytest.mark.parametrize("cut", [0, 1, 5, 30, -1])
def test_half_an_archive_is_not_acknowledged(cut: int) -> None:
    body = archive(USER_LINE.encode())
    with pytest.raises(UnreadableBody, match="archive"):
        parsed_bytes("OPERLOG", body[:cut], contenttype="tgz")


def test_a_damaged_archive_is_read_in_full_or_not_acknowledged() -> None:
    body = archive(USER_LINE.encode())
    choice = random.Random(20_261_130)
    refused = 0
    for _ in range(300):
        damaged = bytearray(body)
        damaged[choice.randrange(20, len(body))] ^= 1 << choice.randrange(8)
        try:
            upload = parsed_bytes("OPERLOG", bytes(damaged), contenttype="tgz")
        except UnreadableBody:
            refused += 1
        else:
            assert upload.users == [USER]
    assert refused > 250


def test_a_chain_of_headers_in_an_archive_is_refused() -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1
    chain = (member.tobuf(tarfile.GNU_FORMAT) + b"y".ljust(512, b"\0")) * 3000
    with pytest.raises(UnreadableBody, match="damaged archive"):
        parsed_bytes("OPERLOG", gzip.compress(chain), contenttype="tgz")
