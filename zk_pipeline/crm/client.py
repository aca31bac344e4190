"""CRM client: posts deliveries and classifies each response.

HTTP is in `transport`, the classification in `responses`, retries and pauses in `delivery`.
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

from zk_pipeline.crm.address_evidence import AddressEvidence
from zk_pipeline.crm.batch_responses import classify_batch_response, classify_single_response
from zk_pipeline.crm.endpoint import CrmEndpoint, TokenSource, read_token
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.lookup import LookupResult, check_lookup, classify_lookup
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import batch_key, crm_record, encode_batch, encode_one, record_body, sent_record
from zk_pipeline.crm.responses import (
    TOKEN_OR_ADDRESS,
    DeliveryResult,
    HttpResponse,
    ResponseClass,
    classify_response,
    may_have_been_applied,
)
from zk_pipeline.crm.transport import Transport, classify_exception


class CrmClient:
    """HTTP client of one CRM endpoint. Thread-safe; close it after use, or use it as a context manager.

    Failures of the CRM or the network are returned as a `DeliveryResult`, never raised. The token is read before each
    request, and again after a 401, so that it can be rotated at any time. No returned text contains the token or a
    query of CRM_API_URL. `clock` returns aware datetimes. Raises CrmSettingWrong if CRM_LOOKUP could never recognize
    a record.
    """

    def __init__(
        self,
        endpoint: CrmEndpoint,
        *,
        token: TokenSource,
        clock: Callable[[], datetime],
        mapping: FieldMapping = IDENTITY_MAPPING,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_lookup(endpoint, mapping)
        self.endpoint = endpoint
        self._mapping = mapping
        self._token = token
        self._clock = clock
        self._transport = Transport(endpoint, monotonic=monotonic)
        self._lock = Lock()
        self._secrets = endpoint.secrets  # and every token used: an old one is secret, too
        self._evidence = AddressEvidence()
        self._get_result: DeliveryResult | None = None
        self._unknown_keys: set[str] = set()  # keys with an unknown outcome in this run; for CRM_LOOKUP only

    def record_body(self, delivery: Delivery) -> str:
        """JSON of a record as this client sends it under its key."""
        return record_body(delivery, self._mapping)

    def post_one(self, delivery: Delivery) -> DeliveryResult:
        """Send one record as a JSON object; query CRM_LOOKUP first if its outcome is unknown."""
        found = self._look_up(delivery)
        if found is not None:
            return found
        with self._evidence.request() as request:
            http = self._post(encode_one(delivery, self._mapping), key=delivery.idempotency_key)
            answer = (
                http
                if isinstance(http, DeliveryResult)
                else self._reinterpret(self._read(http, delivery), delivery, request)
            )
        self._note_outcome(delivery, answer)
        return answer

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]:
        """Send records as one JSON array; one result each, in their order.

        Records with an unknown outcome are looked up with CRM_LOOKUP first. The result of all is BATCH_REJECTED if the
        CRM rejected the array as a whole without naming a record, also an array of one.
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
                answers = classify_batch_response(
                    http,
                    [sent_record(delivery, self._mapping) for delivery in deliveries],
                    now=self._clock(),
                    secrets=self._secrets,
                    rules=self._mapping.rules,
                )
                if any(answer.meaning in (ResponseClass.DELIVERED, ResponseClass.REJECTED) for answer in answers):
                    self._evidence.accept()  # the CRM answered the array record by record
                elif self._evidence.is_address_valid and 200 <= http.status < 300:
                    answers = [replace(answer, meaning=ResponseClass.UNKNOWN) for answer in answers]
        for delivery, answer in zip(deliveries, answers, strict=True):
            self._note_outcome(delivery, answer)
        return answers

    def finish_within(self, seconds: float) -> None:
        """Limit requests in progress and later ones to `seconds`, because the run is ending."""
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
        """Send one request to the endpoint, or to `url` on the same server."""
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
        token = read_token(self._token)
        if token not in self._secrets:
            with self._lock:
                self._secrets |= {token}
        return token

    def _read(self, http: HttpResponse, delivery: Delivery) -> DeliveryResult:
        return classify_single_response(
            http,
            sent_record(delivery, self._mapping),
            now=self._clock(),
            secrets=self._secrets,
            rules=self._mapping.rules,
        )

    def _look_up(self, delivery: Delivery) -> DeliveryResult | None:
        """Look up a record with an unknown outcome; None if the record must be sent."""
        is_unknown = delivery.sent_body is not None or delivery.idempotency_key in self._unknown_keys
        if self.endpoint.lookup is None or not is_unknown:
            return None
        http = self._send("GET", headers={}, url=self.endpoint.lookup_url(delivery.user_id, delivery.work_date))
        if isinstance(http, DeliveryResult):
            return http
        record = crm_record(delivery, self._mapping)
        per_site = delivery.record_per == "site"
        result = classify_lookup(
            http, record, self._mapping, now=self._clock(), per_site=per_site, secrets=self._secrets
        )
        if result is LookupResult.NOT_DELIVERED:
            return None
        if result is LookupResult.DELIVERED:
            self._unknown_keys.discard(delivery.idempotency_key)
            return DeliveryResult(meaning=ResponseClass.DELIVERED, status=http.status)
        return result

    def _note_outcome(self, delivery: Delivery, answer: DeliveryResult) -> None:
        if self.endpoint.lookup is not None and may_have_been_applied(answer.meaning.name.lower(), answer.status):
            self._unknown_keys.add(delivery.idempotency_key)
        elif answer.meaning in (ResponseClass.DELIVERED, ResponseClass.REJECTED):
            self._unknown_keys.discard(delivery.idempotency_key)

    def _reinterpret(self, answer: DeliveryResult, delivery: Delivery, request: int) -> DeliveryResult:
        """Reclassify `answer` by the run's other responses. A 404 for a record (an unknown employee) and one for a
        wrong path differ in one thing: a GET of the wrong path gets the same response.
        """
        if (
            answer.meaning is ResponseClass.UNCLEAR
            and answer.status in (404, 410)
            and not self._evidence.is_address_valid
        ):
            got = self._result_of_get()
            # Some servers answer "Cannot POST /…".
            if got is not None and (got.error or "").replace("GET", "POST") != answer.error:
                self._evidence.accept()
        return self._evidence.reinterpret(answer, delivery.user_id, request)

    def _result_of_get(self) -> DeliveryResult | None:
        """Result of a GET of the address, repeated until it is conclusive. None if it is not: no response, a failing
        server, a redirect, or a web page, which some servers return for every address.
        """
        if self._get_result is None:
            http = self._send("GET", headers={})
            if isinstance(http, HttpResponse):
                answer = classify_response(http, now=self._clock(), secrets=self._secrets)
                shows_nothing = (
                    http.status in TOKEN_OR_ADDRESS
                    if answer.meaning is ResponseClass.UNCLEAR
                    else (answer.meaning in (ResponseClass.MISCONFIGURED, ResponseClass.UNAVAILABLE))
                )
                self._get_result = None if shows_nothing else answer
        return self._get_result
