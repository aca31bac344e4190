"""Addresses of shared stores: their parts, and that their password is never shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zk_pipeline.config.ducklake_address import PREFIX, LakeAddress, parse_lake
from zk_pipeline_tests.engines import with_password

SECRET = "s3cr%et'; pa"
HOME = Path("/srv/zk")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://zk:s3cr%25et'%3B%20pa@db.example.com:5433/attendance?sslmode=require",
        r"host=db.example.com port=5433 user=zk password='s3cr%et\'; pa' dbname=attendance sslmode=require",
    ],
)
def test_an_address_is_taken_apart_and_the_password_kept_out_of_sight(dsn: str) -> None:
    address = parse_lake(f"{PREFIX}{dsn};data=lake").below(HOME)
    assert dict(address.parameters) == {
        "host": "db.example.com", "port": "5433", "user": "zk", "dbname": "attendance", "sslmode": "require"
    }  # fmt: skip
    assert (address.password, address.data) == (SECRET, "/srv/zk/lake")
    for shown in (str(address), repr(address), address.dsn, f"{address!r}"):
        assert "s3cr" not in shown
    assert parse_lake(with_password(address)).below(HOME) == address


def test_several_hosts_and_a_socket_are_what_libpq_takes_them_for() -> None:
    several = parse_lake(f"{PREFIX}postgresql://zk@a:1,b:2/att;data=s3://bucket/zk").below(HOME)
    assert dict(several.parameters) == {"host": "a,b", "port": "1,2", "user": "zk", "dbname": "att"}
    assert several.data == "s3://bucket/zk"
    own = parse_lake(f"{PREFIX}dbname=att;data=s3://bucket/zk?endpoint=http://minio:9000")
    assert (own.data, own.endpoint) == ("s3://bucket/zk", "http://minio:9000")
    assert str(own).endswith(";data=s3://bucket/zk?endpoint=http://minio:9000")
    socket = parse_lake(f"{PREFIX}postgresql:///att?host=/run/postgresql;data=/mnt/lake")
    assert dict(socket.parameters) == {"host": "/run/postgresql", "dbname": "att"}


@pytest.mark.parametrize(
    "text",
    [
        PREFIX,
        f"{PREFIX}dbname=x password=secret",
        f"{PREFIX};data=lake",
        f"{PREFIX}host=x password=secret;data=lake",
        f"{PREFIX}postgresql://zk:secret@host/;data=lake",
        f"{PREFIX}dbname=x 'secret;data=lake",
        f"{PREFIX}dbname=x password=secret nonsense=1;data=lake",
        f"{PREFIX}dbname='' password=secret;data=lake",
        f"{PREFIX}postgresql://zk:secret%zz@host/x;data=lake",
        f"{PREFIX}dbname=x password=secret;data=",
        f"{PREFIX}dbname=x password=secret;data=ftp://host/x",
        f"{PREFIX}dbname=x password=secret;data=lake?endpoint=http://minio:9000",
        f"{PREFIX}dbname=x password=secret;data=s3://b/x?endpoint=minio",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|needs") as refused:
        parse_lake(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", [r"back\\slash", "it's", "-c search_path=a,b", "a=b"])
def test_values_with_special_characters_survive_the_connection_string(value: str) -> None:
    address = LakeAddress((("dbname", "att"), ("options", value)), "lake", password=f"{value} pa;ss")
    assert parse_lake(with_password(address)) == address
    assert dict(parse_lake(str(address)).parameters) == dict(address.parameters)


def test_without_psycopg2_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2.extensions", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(ValueError, match=r"needs `zk-pipeline\[ducklake\]` installed"):
        parse_lake(f"{PREFIX}dbname=x password=secret;data=lake")
