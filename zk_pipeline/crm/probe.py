"""Connectivity probe of the CRM (`zk-pipeline test-crm`), step by step and without creating a record."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import requests
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from zk_pipeline.counted import counted
from zk_pipeline.crm.deadline_connections import CONNECT_TIMEOUT_SECONDS
from zk_pipeline.crm.dns import resolve
from zk_pipeline.crm.endpoint import CrmEndpoint, TokenSource, read_token
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.lookup import LookupResult, classify_lookup
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping
from zk_pipeline.crm.responses import DeliveryResult, HttpResponse, classify_response
from zk_pipeline.crm.sanitize import is_html
from zk_pipeline.crm.transport import Transport, classify_exception

UNKNOWN_USER = "zk-pipeline-probe"  # a user id that no CRM has
PROBE_DATE = date(1970, 1, 1)
IDEMPOTENCY_NOT_SHOWN = (
    "cannot be tested without creating a record: see the CRM's documentation on whether a repeated Idempotency-Key "
    "creates one record; with CRM_LOOKUP, unknown outcomes are looked up instead"
)
CERTIFICATE_WARNING_DAYS = 14  # a certificate that expires earlier is reported


@dataclass(frozen=True, kw_only=True)
class ProbeStep:
    """Result of one step. `is_ok` is None if the CRM's responses do not show it."""

    name: str  # dns, tcp, tls, authentication, endpoint, lookup or idempotency
    is_ok: bool | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class CrmProbe:
    """Results up to the first failed step. `problem` says what to change, or is None."""

    url: str  # without its query
    steps: tuple[ProbeStep, ...]
    problem: str | None
    round_trip_ms: float | None = None  # of the last request
    certificate_days_left: int | None = None  # None without TLS
    status: int | None = None  # of the last request with the token

    @property
    def is_ok(self) -> bool:
        return self.problem is None


def probe(
    endpoint: CrmEndpoint,
    *,
    token: TokenSource,
    clock: Callable[[], datetime],
    path: str | None = None,
    mapping: FieldMapping = IDENTITY_MAPPING,
    monotonic: Callable[[], float] = time.monotonic,
) -> CrmProbe:
    """Resolve the name, connect, negotiate TLS, and send OPTIONS, HEAD and GET, never POST. `path`: another path of
    the same server to send them to, if the endpoint does not support these methods.

    An endpoint may answer these without checking credentials. Authentication is only reported as right if the same
    request without a token is rejected. CRM_LOOKUP is sent for a day of a user who does not exist. Idempotency is
    always reported as unknown: only a record that is sent twice shows it. Never raises for failures of the CRM.
    """
    run = _Probe(endpoint, token=token, clock=clock, path=path, mapping=mapping, monotonic=monotonic)
    try:
        run.connect()
        run.send_requests()
        if run.problem is None:
            run.look_up()
            run.note("idempotency", None, IDEMPOTENCY_NOT_SHOWN)
    except CrmMisconfigured as error:
        run.fail("authentication", str(error))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        run.fail(run.step, classify_exception(error, endpoint, secrets=run.secrets).error or "no answer")
    finally:
        run.transport.close()
    return run.result()


def _connect(addresses: list[tuple[str, int]], timeout: float) -> socket.socket:
    problem: OSError = OSError("the name has no address")
    for address in addresses:
        try:
            return socket.create_connection(address, timeout=timeout)
        except OSError as error:
            problem = error
    raise problem


class _Probe:
    def __init__(
        self,
        endpoint: CrmEndpoint,
        *,
        token: TokenSource,
        clock: Callable[[], datetime],
        path: str | None,
        mapping: FieldMapping,
        monotonic: Callable[[], float],
    ) -> None:
        self.mapping = mapping
        self.endpoint, self.token, self.clock, self.monotonic = endpoint, token, clock, monotonic
        self.probe_url = None if path is None else endpoint.elsewhere(path)
        self.name = "CRM_API_URL" if path is None else "CRM_PROBE_PATH"
        self.transport = Transport(endpoint, monotonic=monotonic)
        self.secrets = set(endpoint.secrets)
        self.step = "dns"
        self.steps: list[ProbeStep] = []
        self.problem: str | None = None
        self.round_trip_ms: float | None = None
        self.days_left: int | None = None
        self.status: int | None = None

    def result(self) -> CrmProbe:
        return CrmProbe(
            url=self.endpoint.shown,
            steps=tuple(self.steps),
            problem=self.problem,
            round_trip_ms=self.round_trip_ms,
            certificate_days_left=self.days_left,
            status=self.status,
        )

    def note(self, name: str, is_ok: bool | None, detail: str) -> None:
        self.steps.append(ProbeStep(name=name, is_ok=is_ok, detail=detail))

    def fail(self, name: str, problem: str) -> None:
        self.note(name, False, problem)
        self.problem = problem

    def connect(self) -> None:
        host, port = self.endpoint.host, self.endpoint.port
        found = resolve(host, port, seconds=min(self.endpoint.timeout, CONNECT_TIMEOUT_SECONDS))
        self.note("dns", True, ", ".join(address for address, _ in found))
        self.step = "tcp"
        timeout = min(self.endpoint.timeout, CONNECT_TIMEOUT_SECONDS)
        started = self.monotonic()
        with _connect(found, timeout) as connection:
            self.note("tcp", True, f"port {port} in {(self.monotonic() - started) * 1000:.0f} ms")
            if self.endpoint.is_tls:
                self.step = "tls"
                self._tls_handshake(connection)

    def _tls_handshake(self, connection: socket.socket) -> None:
        bundle = str(self.endpoint.ca_bundle or DEFAULT_CA_BUNDLE_PATH)
        context = ssl.create_default_context(cafile=bundle)
        with context.wrap_socket(connection, server_hostname=self.endpoint.host) as tls:
            ends = str((tls.getpeercert() or {})["notAfter"])
            version = tls.version()
        end = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
        self.days_left = (end - self.clock()).days
        soon = ": renew it soon" if self.days_left < CERTIFICATE_WARNING_DAYS else ""
        self.note("tls", True, f"{version}, certificate valid for {counted(self.days_left, 'more day')}{soon}")

    def send_requests(self) -> None:
        self.step = "authentication"
        token = read_token(self.token)
        self.secrets.add(token)
        self.step = "endpoint"
        answers = {method: self._send(method, token) for method in ("OPTIONS", "HEAD", "GET")}
        if self._check_authentication(answers):
            self._check_endpoint(answers)

    def look_up(self) -> None:
        """Check the response to CRM_LOOKUP for UNKNOWN_USER, which has no record."""
        if self.endpoint.lookup is None:
            return
        self.step = "lookup"
        token = read_token(self.token)
        http = self._send("GET", token, self.endpoint.lookup_url(UNKNOWN_USER, PROBE_DATE))
        names = {name: self.mapping.rename.get(name, name) for name in ("user_id", "date", "revision")}
        record = {names["user_id"]: UNKNOWN_USER, names["date"]: PROBE_DATE.isoformat(), names["revision"]: 1}
        result = classify_lookup(http, record, self.mapping, now=self.clock(), secrets=self.secrets)
        if isinstance(result, DeliveryResult):
            self.fail("lookup", result.error or result.meaning.value)
        elif http.status == 404:
            detail = (
                "404 for a user who does not exist; a wrong address may answer the same: "
                "request the address for a user who exists"
            )
            self.note("lookup", None, detail)
        elif result is LookupResult.DELIVERED:
            self.fail("lookup", f"CRM_LOOKUP has a record for a user who does not exist ({UNKNOWN_USER}): check it")
        else:
            self.note("lookup", True, f"GET {http.status}, and no record for a user who does not exist")

    def _send(self, method: str, token: str | None, url: str | None = None) -> HttpResponse:
        started = self.monotonic()
        headers = {} if token is None else {"Authorization": f"{self.endpoint.scheme} {token}"}
        http = self.transport.send(method, headers=headers | {"Accept": "application/json"}, url=url or self.probe_url)
        if token is not None:
            self.status = http.status
            self.round_trip_ms = (self.monotonic() - started) * 1000
        return http

    def _check_authentication(self, answers: dict[str, HttpResponse]) -> bool:
        bare = {method: self._send(method, None).status for method in answers}
        refused = [method for method, http in answers.items() if http.status in (401, 403)]
        for method in reversed(refused):  # GET first: its response has a body
            if answers[method].status == 401 or bare[method] != 401:
                self.fail("authentication", self._message(answers[method]))
                return False
        if refused:
            detail = f"the token is valid but may not {refused[-1]}; only a delivery shows whether it may POST"
            self.note("authentication", None, detail)
        elif guarded := [method for method, status in bare.items() if status in (401, 403)]:
            self.note("authentication", True, f"{guarded[0]} is rejected without the token and accepted with it")
        else:
            self.note("authentication", None, "not shown: this address answers the same without the token")
        return True

    def _check_endpoint(self, answers: dict[str, HttpResponse]) -> None:
        seen = ", ".join(f"{method} {http.status}" for method, http in answers.items())
        last = answers["GET"]
        if all(http.status == 404 for http in answers.values()):
            self.fail("endpoint", f"{self.name} names no endpoint of the CRM ({seen}): check the address")
        elif any(300 <= http.status < 400 for http in answers.values()):
            moved = next(http for http in answers.values() if 300 <= http.status < 400)
            self.fail("endpoint", self._message(moved))
        elif all(http.status >= 500 and http.status != 501 for http in answers.values()):
            self.fail("endpoint", f"the CRM fails ({self._message(last)}): no setting to change here")
        elif last.status == 200 and is_html(last.content_type, last.body):
            self.note(
                "endpoint", None, f"GET returns a web page: check that {self.name} is the address of the CRM's API"
            )
        else:
            self.note("endpoint", True, seen)

    def _message(self, http: HttpResponse) -> str:
        return classify_response(http, now=self.clock(), secrets=self.secrets).error or str(http.status)
