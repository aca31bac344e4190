"""TLS trust: certificates that are accepted and rejected."""

from __future__ import annotations

import re
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.responses import ResponseClass
from zk_pipeline.simulator.crm.faults import Fault, first
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.crm.crm_doubles import DAY, NOON, TOKEN, client_of, delivery, make_certificate

IN_A_YEAR = datetime.now(UTC) + timedelta(days=365)


def test_a_private_authority_is_trusted_when_named(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, ends=IN_A_YEAR)
    with CrmReceiver(token=TOKEN, tls=certificate.tls) as receiver:
        with client_of(receiver, ca_bundle=certificate.authority) as client:
            assert client.post_one(delivery()).meaning is ResponseClass.DELIVERED
            receiver.fault_rule = first(1, Fault(drop="after"))
            assert client.post_one(delivery("EMP002")).meaning is ResponseClass.UNKNOWN
            assert client.post_one(delivery("EMP002")).status == 200
        assert receiver.ledger.revisions("EMP002", DAY) == [1]


@pytest.mark.parametrize("cut_after", [1, 20, 60, -1])
@pytest.mark.parametrize("is_tls", [True, False])
def test_an_answer_that_is_cut_off_anywhere_leaves_the_outcome_unknown(
    cut_after: int, is_tls: bool, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, ends=IN_A_YEAR)
    cut = first(1, Fault(cut_after=cut_after))
    with CrmReceiver(token=TOKEN, tls=certificate.tls if is_tls else None, fault_rule=cut) as receiver:
        with client_of(receiver, ca_bundle=certificate.authority if is_tls else None) as client:
            assert client.post_one(delivery()).meaning is ResponseClass.UNKNOWN
            assert client.post_one(delivery()).status == 200
            receiver.fault_rule = first(1, Fault(cut_after=cut_after))
            (answer,) = client.post_batch([delivery("EMP002")])
            assert answer.meaning is ResponseClass.UNKNOWN
        assert receiver.ledger.revisions("EMP002", DAY) == [1]


def test_a_drip_over_tls_ends_at_the_deadline(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, ends=IN_A_YEAR)
    with CrmReceiver(token=TOKEN, tls=certificate.tls, fault_rule=first(1, Fault(drip=0.1))) as receiver:
        client = client_of(receiver, ca_bundle=certificate.authority, timeout=0.7)
        assert client.post_one(delivery()).meaning is ResponseClass.UNKNOWN
        assert client.post_one(delivery()).status == 200
        client.close()


@pytest.mark.parametrize(
    ("days", "host", "issuer", "said"),
    [
        (365, "127.0.0.1", "unknown authority", "unable to get local issuer certificate"),
        (365, "127.0.0.1", "self-signed", "self.signed certificate"),
        (-1, "127.0.0.1", "trusted authority", "certificate has expired"),
        (365, "192.0.2.1", "trusted authority", "IP address mismatch"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_stops_everything(
    tmp_path: Path, days: int, host: str, issuer: str, said: str
) -> None:
    ends = datetime.now(UTC) + timedelta(days=days)
    certificate = make_certificate(tmp_path, ends=ends, host=host, is_self_signed=issuer == "self-signed")
    bundle = None if issuer == "unknown authority" else certificate.authority
    with (
        CrmReceiver(token=TOKEN, tls=certificate.tls) as receiver,
        client_of(receiver, ca_bundle=bundle) as client,
    ):
        answer = client.post_one(delivery())
        assert receiver.posts == 0
    assert answer.meaning is ResponseClass.MISCONFIGURED
    assert re.search(said, answer.error or "")
    assert "CRM_CA_BUNDLE" in (answer.error or "")


def test_tls_spoken_to_a_plain_port_is_the_set_ups_fault() -> None:
    with CrmReceiver(token=TOKEN) as receiver:
        endpoint = CrmEndpoint(url=receiver.url.replace("http:", "https:"))
        with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
            answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.MISCONFIGURED
    assert "CRM_API_URL" in (answer.error or "")


@pytest.mark.parametrize("bytes_read", [1, 65_536])  # closing with the rest unread is a reset, otherwise an end
def test_a_line_cut_in_the_handshake_is_nobodys_misconfiguration(bytes_read: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def cut() -> None:
            connection, _ = server.accept()
            connection.recv(bytes_read)
            connection.close()

        thread = threading.Thread(target=cut)
        thread.start()
        endpoint = CrmEndpoint(url=f"https://127.0.0.1:{server.getsockname()[1]}/")
        with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
            answer = client.post_one(delivery())
        thread.join()
    assert answer.meaning in (ResponseClass.UNKNOWN, ResponseClass.UNAVAILABLE)
