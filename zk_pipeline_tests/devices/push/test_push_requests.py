"""Requests of pushing terminals: each path and its meaning, names in any case, and requests that no terminal sends."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.devices.push.requests import UNNAMED, PushRequest, RequestError, parse_request


def request(method: str, target: str) -> PushRequest:
    path, _, query = target.partition("?")
    return parse_request(method, path, query.encode())


@pytest.mark.parametrize(
    ("method", "target", "kind", "table"),
    [
        ("GET", "/iclock/cdata?SN=A1&options=all&pushver=2.4.1&language=69", "hello", None),
        ("GET", "/iclock/cdata?SN=A1", "hello", None),
        ("POST", "/iclock/cdata?SN=A1&options=all", "hello", None),
        ("GET", "/iclock/cdata?SN=A1&type=time", "time", None),
        ("GET", "/iclock/rtdata?SN=A1&type=time", "time", None),
        ("POST", "/iclock/rtdata?SN=A1&type=time", "time", None),
        ("POST", "/iclock/cdata?SN=A1&table=ATTLOG&Stamp=9999", "upload", "ATTLOG"),
        ("POST", "/iclock/cdata?SN=A1&table=OPERLOG&OpStamp=1", "upload", "OPERLOG"),
        ("POST", "/iclock/cdata?SN=A1&table=OPERLOG&ContentType=tgz", "upload", "OPERLOG"),
        ("POST", "/iclock/cdata?SN=A1&table=BIODATA&Stamp=1", "upload", "BIODATA"),
        ("POST", "/iclock/cdata?SN=A1&table=IDCARD&Stamp=1", "upload", "IDCARD"),
        ("POST", "/iclock/cdata?SN=A1&table=ERRORLOG&Stamp=1", "upload", "ERRORLOG"),
        ("POST", "/iclock/cdata?SN=A1&table=rtlog", "upload", "RTLOG"),
        ("POST", "/iclock/cdata?SN=A1&table=rtstate", "upload", "RTSTATE"),
        ("POST", "/iclock/cdata?SN=A1&table=tabledata&tablename=user&count=1", "upload", "TABLEDATA:user"),
        ("POST", "/iclock/cdata?SN=A1&table=tabledata&tablename=Transaction", "upload", "TABLEDATA:transaction"),
        ("POST", "/iclock/cdata?SN=A1&table=new_table", "upload", "NEW_TABLE"),
        ("POST", "/iclock/cdata?SN=A1&table=options", "options", "OPTIONS"),
        ("POST", "/iclock/cdata?SN=A1&table=ATTPHOTO&PhotoStamp=1", "photo", "ATTPHOTO"),
        ("POST", "/iclock/event?SN=A1", "upload", "EVENT"),
        ("POST", "/iclock/fdata?SN=A1&PIN=1.jpg&PhotoStamp=1", "photo", "ATTPHOTO"),
        ("GET", "/iclock/cdata?SN=A1&table=RemoteAtt&PIN=1", "remote_att", None),
        ("POST", "/iclock/cdata?SN=A1&AuthType=CARD", "online_decision", None),
        ("POST", "/iclock/cdata?SN=A1&type=PostVerifyData", "online_decision", None),
        ("GET", "/iclock/cdata?SN=A1&type=LastPunch&PIN=1", "online_decision", None),
        ("POST", "/iclock/cdata?SN=A1&table=SELFSERVICEDATA", "online_decision", None),
        ("POST", "/iclock/querydata?SN=A1&type=tabledata&cmdid=1&tablename=user", "querydata", "TABLEDATA:user"),
        ("POST", "/iclock/querydata?SN=A1&tablename=user", "querydata", "TABLEDATA:user"),
        ("POST", "/iclock/querydata?SN=A1&type=count&cmdid=1&tablename=transaction", "querydata", "COUNT"),
        ("POST", "/iclock/querydata?SN=A1&type=options&cmdid=1", "querydata", "OPTIONS"),
        ("POST", "/iclock/registry?SN=A1", "registry", None),
        ("GET", "/iclock/registry?SN=A1", "registry", None),
        ("POST", "/iclock/push?SN=A1", "push_config", None),
        ("GET", "/iclock/push?SN=A1", "push_config", None),
        ("POST", "/iclock/exchange?SN=A1&type=publickey", "exchange", None),
        ("GET", "/iclock/getrequest?SN=A1&INFO=Ver%201,2,3,4,10.0.0.9", "getrequest", None),
        ("GET", "/iclock/ping?SN=A1", "ping", None),
        ("POST", "/iclock/devicecmd?SN=A1", "devicecmd", None),
        ("GET", "/iclock/file?SN=A1&url=x", "file", None),
    ],
)
def test_each_path_of_the_protocol_has_its_meaning(method: str, target: str, kind: str, table: str | None) -> None:
    for spelling in (target, target.replace("?", ".aspx?", 1), "/" + target):
        parsed = request(method, spelling)
        assert (parsed.kind, parsed.table, parsed.serial, parsed.secret) == (kind, table, "A1", None)


def test_names_of_parameters_and_the_path_are_read_in_any_case() -> None:
    parsed = request("POST", "/ICLOCK/CData.ASPX?sn=Abc-1_2&TABLE=attlog&STAMP=None")
    assert (parsed.kind, parsed.endpoint, parsed.serial) == ("upload", "cdata", "Abc-1_2")
    assert (parsed.table, parsed.stamp) == ("ATTLOG", "None")
    assert dict(parsed.parameters) == {"sn": "Abc-1_2", "table": "attlog", "stamp": "None"}


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("/iclock/cdata", None),
        ("/s3cret/iclock/cdata", "s3cret"),
        ("/acme/s3cret/iclock/cdata.aspx", "acme/s3cret"),
        ("//s3cret//iclock//cdata", "s3cret"),
        ("/iclock/iclock/cdata", "iclock"),
    ],
)
def test_the_segments_before_iclock_are_the_secret(path: str, secret: str | None) -> None:
    assert request("GET", f"{path}?SN=A1").secret == secret


@pytest.mark.parametrize(
    ("query", "stamp"),
    [
        ("table=ATTLOG&Stamp=82983982", "82983982"),
        ("table=ATTLOG&Stamp=2011-04-05T17:40:20", "2011-04-05T17:40:20"),
        ("table=ATTLOG&Stamp=2011-04-05%2017%3A40:20", "2011-04-05 17:40:20"),
        ("table=ATTLOG&Stamp=0009999", "0009999"),
        ("table=ATTLOG&Stamp=None", "None"),
        ("table=ATTLOG&Stamp=", None),
        ("table=ATTLOG", None),
        ("table=OPERLOG&OpStamp=7", "7"),
        ("table=OPERLOG&Stamp=7", "7"),
        ("table=USERINFO&OpStamp=7", "7"),
        ("table=OPERLOG&Stamp=7&OpStamp=8", "8"),
        ("table=ATTPHOTO&PhotoStamp=9", "9"),
        ("table=ATTLOG&OpStamp=7", None),
    ],
)
def test_a_stamp_stays_exactly_as_received(query: str, stamp: str | None) -> None:
    assert request("POST", f"/iclock/cdata?SN=A1&{query}").stamp == stamp


@pytest.mark.parametrize("stamp", ["1%0AServerVer=9", "1%0D", "%00", "9" * 65])
def test_a_stamp_that_would_add_lines_to_the_next_option_block_is_not_kept(stamp: str) -> None:
    assert request("POST", f"/iclock/cdata?SN=A1&table=ATTLOG&Stamp={stamp}").stamp is None


@pytest.mark.parametrize(
    "query",
    ["", "&type=other", "&table=", "&table=a%20b", "&table=tabledata", "&table=tabledata&tablename=user%0AC:1:CHECK"],
)
def test_an_upload_without_a_valid_table_is_received(query: str) -> None:
    parsed = request("POST", f"/iclock/cdata?SN=A1{query}")
    assert (parsed.kind, parsed.table) == ("upload", UNNAMED)


def test_percent_encoding_is_decoded_and_plus_is_not_a_blank() -> None:
    parsed = request("GET", "/iclock/getrequest?SN=A1&INFO=Ver%208.0%2C3,%C3%A9+1&note=%ff")
    assert parsed.parameters["info"] == "Ver 8.0,3,é+1"
    assert parsed.parameters["note"] == "\ufffd"


def test_the_first_value_of_a_repeated_parameter_counts() -> None:
    parsed = request("GET", "/iclock/getrequest?SN=A1&sn=B2&SN=C3")
    assert (parsed.serial, parsed.parameters["sn"]) == ("A1", "A1")


@pytest.mark.parametrize("serial", ["", "A" * 33, "A 1", "A/1", "A%0A1", "Ä1", "'--", "../A"])
def test_a_serial_number_with_other_characters_is_refused(serial: str) -> None:
    with pytest.raises(RequestError, match="is no serial number") as refused:
        request("GET", f"/iclock/cdata?SN={serial}&options=all")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/iclock", 404),
        ("GET", "/cdata?SN=A1", 404),
        ("GET", "/iclock/cdata/more?SN=A1", 404),
        ("GET", "/iclock/unknown?SN=A1", 404),
        ("GET", "/iclock/file/fw/main.tgz?SN=A1", 404),
        ("PUT", "/iclock/cdata?SN=A1", 405),
        ("GET", "/iclock/cdata?SN=A1&table=ATTLOG", 405),
        ("POST", "/iclock/getrequest?SN=A1", 405),
        ("GET", "/iclock/devicecmd?SN=A1", 405),
        ("GET", "/iclock/cdata?SN=A1&type=other", 400),
        ("GET", "/iclock/cdata?options=all", 400),
    ],
)
def test_a_request_that_no_terminal_sends_is_refused_with_one_line(method: str, target: str, status: int) -> None:
    with pytest.raises(RequestError) as refused:
        request(method, target)
    assert refused.value.status == status
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


@settings(max_examples=60)
@given(method=st.sampled_from(["GET", "POST"]), path=st.text("/iclock.aspx", max_size=20), query=st.binary(max_size=60))
def test_any_request_is_read_or_refused(method: str, path: str, query: bytes) -> None:
    for target in (path, f"/{path}/iclock/cdata", "/iclock/querydata"):
        with contextlib.suppress(RequestError):
            assert parse_request(method, target, b"SN=A1&" + query).serial == "A1"
