"""Deliveries, an outbox in memory, a sender with scripted answers, a clock that moves when slept on, certificates.

The CRM itself is real.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.models import Delivery, DeliveryState, Outcome
from zk_pipeline.crm.payload import idempotency_key
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.simulator.crm.receiver import CrmReceiver

TOKEN = "s3cret/token+of=42"
DELIVERED = DeliveryResult(meaning=ResponseClass.DELIVERED, status=201)
DAY = date(2026, 11, 11)
ZONE = timezone(timedelta(hours=3))
NOON = datetime(2026, 11, 11, 12, 0, tzinfo=UTC)


def delivery(user_id: str = "EMP001", *, work_date: date = DAY, revision: int = 1) -> Delivery:
    return Delivery(
        site="Main Office",
        user_id=user_id,
        work_date=work_date,
        revision=revision,
        idempotency_key=idempotency_key("Main Office", user_id, work_date, revision, "content"),
        attempts=0,
        clock_in=datetime(2026, 11, 11, 8, 15, 30, tzinfo=ZONE),
        clock_out=None,
        is_outlier=False,
        outlier_reason="",
        device_name="Main Office",
        device_ip="192.0.2.10",
    )


def deliveries(count: int) -> list[Delivery]:
    return [delivery(f"EMP{i:05}") for i in range(count)]


class MemoryOutbox:
    """What is due, in order; UNSENT is due again."""

    def __init__(self, due: Iterable[Delivery]) -> None:
        self.due = list(due)
        self.outcomes: dict[str, Outcome] = {}
        self.claims: list[int] = []
        self.settlings: list[int] = []
        self.threads: set[int] = set()
        self.noted: set[str] = set()
        self.has_sync_lock = True

    def ensure_sync_lock(self) -> None:
        if not self.has_sync_lock:
            raise ZkPipelineError("another run sends")

    def mark_sending(self, deliveries: Sequence[Delivery]) -> None:
        self.noted.update(delivery.idempotency_key for delivery in deliveries)

    def settle_and_claim(self, outcomes: list[Outcome], wanted: int) -> list[Delivery]:
        self.ensure_sync_lock()
        if outcomes:
            self.settle(outcomes)
        return self.claim(wanted) if wanted > 0 else []

    def claim(self, limit: int) -> list[Delivery]:
        self.threads.add(threading.get_ident())
        claimed, self.due = self.due[:limit], self.due[limit:]
        self.claims.append(len(claimed))
        return claimed

    def settle(self, outcomes: list[Outcome]) -> None:
        self.threads.add(threading.get_ident())
        self.settlings.append(len(outcomes))
        for outcome in outcomes:
            key = outcome.delivery.idempotency_key
            assert key not in self.outcomes, "settled twice"
            self.outcomes[key] = outcome

    def by_state(self, state: DeliveryState) -> list[Outcome]:
        return [o for o in self.outcomes.values() if o.state is state]

    def outcome_of(self, user_id: str) -> Outcome:
        return next(o for o in self.outcomes.values() if o.delivery.user_id == user_id)


@dataclass
class ToldSender:
    """Answers by a function of the delivery and of how often it was sent before."""

    tell: Callable[[Delivery, int], DeliveryResult]
    sent: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    seconds_to_finish: float | None = None

    def post_one(self, delivery: Delivery) -> DeliveryResult:
        with self.lock:
            before = self.sent.count(delivery.user_id)
            self.sent.append(delivery.user_id)
        return self.tell(delivery, before)

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]:
        return [self.post_one(each) for each in deliveries]

    def finish_within(self, seconds: float) -> None:
        self.seconds_to_finish = seconds


@dataclass
class FakeTime:
    """A monotonic and a wall clock that move together, by `sleep` only."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def clock(self) -> datetime:
        return NOON + timedelta(seconds=self.now - 1000.0)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client_of(receiver: CrmReceiver, *, timeout: float = 10.0, ca_bundle: Path | None = None) -> CrmClient:
    endpoint = CrmEndpoint(url=receiver.url, timeout=timeout, ca_bundle=ca_bundle)
    return CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON)


@contextmanager
def stub_crm(answer: Callable[[str, bool, str], tuple[int, str]]) -> Iterator[str]:
    """Address of a server whose status and message depend on method, credentials and path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, words = answer(self.command, "Authorization" in self.headers, self.path)
            body = b"" if self.command == "HEAD" else words.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET = do_HEAD = do_OPTIONS = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Certificate:
    """A server's chain and key, and the authority to trust for it, as PEM files."""

    authority: Path
    chain: Path
    key: Path

    @property
    def tls(self) -> tuple[Path, Path]:
        return self.chain, self.key


def make_certificate(
    folder: Path, *, ends: datetime, host: str = "127.0.0.1", is_self_signed: bool = False
) -> Certificate:
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    begins = min(datetime.now(UTC), ends) - timedelta(days=30)

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )

    is_ca = x509.BasicConstraints(ca=True, path_length=None)
    ca = builder(ca_name, ca_key, ca_name).add_extension(is_ca, critical=True).sign(ca_key, hashes.SHA256())
    issuer, issuer_key = (name, server_key) if is_self_signed else (ca_name, ca_key)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
    server = builder(name, server_key, issuer).add_extension(names, critical=False)
    paths = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    paths.authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths.chain.write_bytes(server.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths
