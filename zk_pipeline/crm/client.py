"""The CRM as the delivery service sees it: records in, the meaning of each answer out.

The wire is in `transport`, the meanings in `answers` and `failures`; attempts and pauses are in `delivery`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from types import TracebackType

import requests
import urllib3

from zk_pipeline.crm.answers import Answer, HttpAnswer, Meaning, read_answer, read_batch_answer
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.failures import read_failure
from zk_pipeline.crm.mapping import AS_IT_IS, FieldMapping
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import batch_key, encode_batch, encode_one
from zk_pipeline.crm.token import TokenSource, checked_token
from zk_pipeline.crm.transport import Transport


class CrmClient:
    """Posts days to one CRM endpoint. Thread-safe; close it after use, or use it in `with`.

    What the CRM or the network does comes back as an `Answer` and never as an exception. The token is asked
    for before each request, and once more when it is refused, so that it can be rotated at any time; it is in
    no text that leaves here. `clock` gives aware datetimes.
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
        self.endpoint = endpoint
        self._mapping = mapping
        self._token = token
        self._clock = clock
        self._transport = Transport(endpoint, monotonic=monotonic)
        self._lock = Lock()
        self._secrets: frozenset[str] = frozenset()  # every token ever used: an old one is one too
        self._address_is_right = False

    def post_one(self, delivery: Delivery) -> Answer:
        """Send one record as a JSON object."""
        http = self._post(encode_one(delivery, self._mapping), key=delivery.idempotency_key)
        return http if isinstance(http, Answer) else self._checked(self._read(http))

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        """Send records as one JSON array; one answer each, in their order.

        BATCH_REFUSED for all where the CRM refused the array as a whole without saying for which record, also of one.
        """
        keys = [d.idempotency_key for d in deliveries]
        http = self._post(encode_batch(deliveries, self._mapping), key=batch_key(deliveries))
        if isinstance(http, Answer):
            return [http] * len(keys)
        if http.status == 404:
            whole = self._checked(self._read(http))
            if whole.meaning is Meaning.MISCONFIGURED:
                return [whole] * len(keys)
        answers = read_batch_answer(http, keys, now=self._clock(), secrets=self._secrets)
        self._address_is_right |= any(a.meaning is Meaning.DELIVERED for a in answers)
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

    def _post(self, body: bytes, *, key: str) -> HttpAnswer | Answer:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send("POST", headers=headers, body=body)

    def _send(self, method: str, *, headers: Mapping[str, str], body: bytes | None = None) -> HttpAnswer | Answer:
        try:
            token = self._current_token()
            http = self._send_as(token, method, headers, body)
            if http.status == 401 and (rotated := self._current_token()) != token:
                http = self._send_as(rotated, method, headers, body)
            return http
        except CrmMisconfigured as error:
            return Answer(meaning=Meaning.MISCONFIGURED, error=str(error))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return read_failure(error, self.endpoint, secrets=self._secrets)

    def _send_as(self, token: str, method: str, headers: Mapping[str, str], body: bytes | None) -> HttpAnswer:
        common = {
            "Accept": "application/json",
            "Authorization": f"{self.endpoint.scheme} {token}",
            "User-Agent": "zk-pipeline",
        }
        return self._transport.send(method, headers=common | dict(headers), body=body)

    def _current_token(self) -> str:
        token = checked_token(self._token)
        if token not in self._secrets:
            with self._lock:
                self._secrets |= {token}
        return token

    def _read(self, http: HttpAnswer) -> Answer:
        return read_answer(http, now=self._clock(), secrets=self._secrets)

    def _checked(self, answer: Answer) -> Answer:
        """`answer`, unless it is a 404 about the address rather than the record: then MISCONFIGURED.

        A CRM's 404 for a record (an employee it does not know) and a web server's 404 for a wrong path differ
        in one thing: the latter is what a GET of that address gets too, in the same words.
        """
        if answer.meaning is Meaning.DELIVERED:
            self._address_is_right = True
        if answer.status != 404 or self._address_is_right:
            return answer
        http = self._send("GET", headers={})
        if isinstance(http, Answer):
            return answer  # nothing learned
        told = (self._read(http).error or "").replace("GET", "POST")  # "Cannot POST /…", as some word it
        if told != answer.error:
            self._address_is_right = True
            return answer
        text = f"CRM_API_URL names no endpoint of the CRM ({answer.error}): check the address"
        return Answer(meaning=Meaning.MISCONFIGURED, status=404, error=text)
