"""The CRM as the delivery service sees it: records in, the meaning of each answer out.

The wire is in `transport`, the meanings in `responses` and `transport_errors`; attempts and pauses are in `delivery`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from types import TracebackType

import requests
import urllib3

from zk_pipeline.crm.address import Evidence
from zk_pipeline.crm.batch_answers import read_batch_answer, read_single_answer
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.errors import CrmMisconfigured, CrmSettingWrong
from zk_pipeline.crm.lookup import Holding, read_lookup
from zk_pipeline.crm.mapping import AS_IT_IS, FieldMapping
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import batch_key, crm_record, encode_batch, encode_one, record_body, sent_record
from zk_pipeline.crm.responses import (
    TOKEN_OR_ADDRESS,
    DeliveryResult,
    HttpResponse,
    ResponseClass,
    classify_response,
    may_be_applied,
)
from zk_pipeline.crm.token import TokenSource, checked_token
from zk_pipeline.crm.transport import Transport
from zk_pipeline.crm.transport_errors import classify_exception


def check_lookup(endpoint: CrmEndpoint, mapping: FieldMapping) -> None:
    """Raise CrmSettingWrong where CRM_LOOKUP could never recognize a record."""
    if endpoint.lookup is not None and "revision" in mapping.drop:
        raise CrmSettingWrong("CRM_LOOKUP needs the field revision, which crm_mapping.yaml drops: keep it there")


class CrmClient:
    """Posts days to one CRM endpoint. Thread-safe; close it after use, or use it in `with`.

    What the CRM or the network does comes back as an `DeliveryResult` and never as an exception. The token is asked
    for before each request, and once more when it is refused, so that it can be rotated at any time; it is in
    no text that leaves here, and neither is a query of CRM_API_URL. `clock` gives aware datetimes. Raises
    CrmSettingWrong where CRM_LOOKUP could never recognize a record.
    """

    def __init__(
        self,
        endpoint: CrmEndpoint,
        *,
        token: TokenSource,
        clock: Callable[[], datetime],
        mapping: FieldMapping = AS_IT_IS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_lookup(endpoint, mapping)
        self.endpoint = endpoint
        self._mapping = mapping
        self._token = token
        self._clock = clock
        self._transport = Transport(endpoint, monotonic=monotonic)
        self._lock = Lock()
        self._secrets = endpoint.secrets  # and every token ever used: an old one is one too
        self._evidence = Evidence()
        self._got: DeliveryResult | None = None
        self._unknown: set[str] = set()  # keys whose outcome became unknown in this run; kept for CRM_LOOKUP only

    def record_body(self, delivery: Delivery) -> str:
        """The JSON of a record as this client sends it under its key."""
        return record_body(delivery, self._mapping)

    def post_one(self, delivery: Delivery) -> DeliveryResult:
        """Send one record as a JSON object; where its outcome is unknown, ask CRM_LOOKUP first."""
        found = self._look_up(delivery)
        if found is not None:
            return found
        with self._evidence.request() as request:
            http = self._post(encode_one(delivery, self._mapping), key=delivery.idempotency_key)
            answer = (
                http if isinstance(http, DeliveryResult) else self._weigh(self._read(http, delivery), delivery, request)
            )
        self._remember(delivery, answer)
        return answer

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]:
        """Send records as one JSON array; one answer each, in their order.

        Those whose outcome is unknown are asked for at CRM_LOOKUP first. BATCH_REFUSED for all where the CRM refused
        the array as a whole without saying for which record, also of one.
        """
        found = {delivery.idempotency_key: self._look_up(delivery) for delivery in deliveries}
        to_send = [delivery for delivery in deliveries if found[delivery.idempotency_key] is None]
        if to_send:
            sent = zip(to_send, self._post_array(to_send), strict=True)
            found |= {delivery.idempotency_key: answer for delivery, answer in sent}
        return [answer for delivery in deliveries if (answer := found[delivery.idempotency_key])]

    def _post_array(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]:
        with self._evidence.request():
            http = self._post(encode_batch(deliveries, self._mapping), key=batch_key(deliveries))
            if isinstance(http, DeliveryResult):
                answers = [http] * len(deliveries)
            else:
                answers = read_batch_answer(
                    http,
                    [sent_record(delivery, self._mapping) for delivery in deliveries],
                    now=self._clock(),
                    secrets=self._secrets,
                    rules=self._mapping.rules,
                )
                if any(answer.meaning in (ResponseClass.DELIVERED, ResponseClass.REJECTED) for answer in answers):
                    self._evidence.accept()  # refused or not, the CRM took the array and answered record by record
                elif self._evidence.is_right and 200 <= http.status < 300:
                    answers = [replace(answer, meaning=ResponseClass.UNKNOWN) for answer in answers]
        for delivery, answer in zip(deliveries, answers, strict=True):
            self._remember(delivery, answer)
        return answers

    def finish_within(self, seconds: float) -> None:
        """Give requests under way, and any to come, at most this long: the run is being ended."""
        self._transport.finish_within(seconds)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> CrmClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post(self, body: bytes, *, key: str) -> HttpResponse | DeliveryResult:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send("POST", headers=headers, body=body)

    def _send(
        self, method: str, *, headers: Mapping[str, str], body: bytes | None = None, url: str | None = None
    ) -> HttpResponse | DeliveryResult:
        """One request, to the endpoint unless `url` names another place of its server."""
        try:
            token = self._current_token()
            http = self._send_as(token, method, headers, body, url)
            if http.status == 401 and (rotated := self._current_token()) != token:
                http = self._send_as(rotated, method, headers, body, url)
            return http
        except CrmMisconfigured as error:
            return DeliveryResult(meaning=ResponseClass.MISCONFIGURED, error=str(error))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return classify_exception(error, self.endpoint, secrets=self._secrets)

    def _send_as(
        self, token: str, method: str, headers: Mapping[str, str], body: bytes | None, url: str | None
    ) -> HttpResponse:
        common = {
            "Accept": "application/json",
            "Authorization": f"{self.endpoint.scheme} {token}",
            "User-Agent": "zk-pipeline",
        }
        return self._transport.send(method, headers=common | dict(headers), body=body, url=url)

    def _current_token(self) -> str:
        token = checked_token(self._token)
        if token not in self._secrets:
            with self._lock:
                self._secrets |= {token}
        return token

    def _read(self, http: HttpResponse, delivery: Delivery) -> DeliveryResult:
        return read_single_answer(
            http,
            sent_record(delivery, self._mapping),
            now=self._clock(),
            secrets=self._secrets,
            rules=self._mapping.rules,
        )

    def _look_up(self, delivery: Delivery) -> DeliveryResult | None:
        """The answer of CRM_LOOKUP about a record whose outcome is unknown; None where the record is to be sent."""
        is_unknown = delivery.sent_body is not None or delivery.idempotency_key in self._unknown
        if self.endpoint.lookup is None or not is_unknown:
            return None
        http = self._send("GET", headers={}, url=self.endpoint.lookup_url(delivery.user_id, delivery.work_date))
        if isinstance(http, DeliveryResult):
            return http
        record = crm_record(delivery, self._mapping)
        per_site = delivery.record_per == "site"
        held = read_lookup(http, record, self._mapping, now=self._clock(), per_site=per_site, secrets=self._secrets)
        if held is Holding.NOT_THIS:
            return None
        if held is Holding.THIS:
            self._unknown.discard(delivery.idempotency_key)
            return DeliveryResult(meaning=ResponseClass.DELIVERED, status=http.status)
        return held

    def _remember(self, delivery: Delivery, answer: DeliveryResult) -> None:
        if self.endpoint.lookup is not None and may_be_applied(answer.meaning.name.lower(), answer.status):
            self._unknown.add(delivery.idempotency_key)
        elif answer.meaning in (ResponseClass.DELIVERED, ResponseClass.REJECTED):
            self._unknown.discard(delivery.idempotency_key)

    def _weigh(self, answer: DeliveryResult, delivery: Delivery, request: int) -> DeliveryResult:
        """`answer` in the light of the others. A 404 for a record (an employee that the CRM does not know) and one for
        a wrong path differ in one thing: the latter is what a GET of that address gets too, in the same words.
        """
        if answer.meaning is ResponseClass.UNCLEAR and answer.status in (404, 410) and not self._evidence.is_right:
            got = self._got_by_get()
            # "Cannot POST /…", as some word it
            if got is not None and (got.error or "").replace("GET", "POST") != answer.error:
                self._evidence.accept()
        return self._evidence.weigh(answer, delivery.user_id, request)

    def _got_by_get(self) -> DeliveryResult | None:
        """A GET of the address, asked until it shows something; None where it does not: no answer, a failing
        server, a redirect or a page, which some servers give for every address.
        """
        if self._got is None:
            http = self._send("GET", headers={})
            if isinstance(http, HttpResponse):
                answer = classify_response(http, now=self._clock(), secrets=self._secrets)
                shows_nothing = (
                    http.status in TOKEN_OR_ADDRESS
                    if answer.meaning is ResponseClass.UNCLEAR
                    else (answer.meaning in (ResponseClass.MISCONFIGURED, ResponseClass.UNAVAILABLE))
                )
                self._got = None if shows_nothing else answer
        return self._got
