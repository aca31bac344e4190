"""Detection of a wrong address or missing rights: the same response to the records of many users.

A web server's 404 for a wrong address and a CRM's 404 for an unknown employee may be identical. The classification of
a single response is in `responses`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition

from zk_pipeline.crm.responses import TOKEN_OR_ADDRESS, DeliveryResult, ResponseClass

USERS_WITH_SAME_ANSWER = 10  # consecutive users with the same response that prove a wrong address
USERS_WITH_SAME_REJECTION = 20  # the same for rejections, which name what is wrong with the record
ANSWERS_TO_ONE_USER = 3  # consecutive 403s or web pages for one user that prove wrong settings


class AddressEvidence:
    """Responses of one run as evidence for or against the CRM's address and the token's rights. Thread-safe.

    Until the CRM has accepted a record, a response that a wrong address may cause is UNCLEAR: its record is retried,
    then waits. After that, the record is at fault. The result is MISCONFIGURED if enough consecutive users get the
    same response and the requests in progress at that time end without an acceptance, too: a rejection is often
    faster than an acceptance.
    """

    def __init__(self) -> None:
        self._lock = Condition()
        self._last_answer: tuple[int | None, str | None] | None = None
        self._users: Counter[str] = Counter()  # consecutive users with that response
        self._users_with_own_fault: set[str] = set()  # users with that response while others were accepted
        self._begun = 0
        self._in_progress: set[int] = set()
        self._awaited: set[int] | None = None  # requests in progress when enough users had the same response
        self.is_address_valid = False  # the CRM has accepted a record at this address

    @contextmanager
    def request(self) -> Iterator[int]:
        """Duration of one request; yields its number."""
        with self._lock:
            self._begun += 1
            number = self._begun
            self._in_progress.add(number)
        try:
            yield number
        finally:
            with self._lock:
                self._end(number)

    def accept(self) -> None:
        with self._lock:
            self.is_address_valid = True
            self._users_with_own_fault |= self._users.keys()
            self._last_answer = self._awaited = None
            self._users = Counter()
            self._lock.notify_all()

    def reinterpret(self, answer: DeliveryResult, user_id: str, request: int) -> DeliveryResult:
        """The response to a record of `user_id`, reclassified by all responses before it."""
        if answer.meaning is ResponseClass.DELIVERED:
            self.accept()
            return answer
        if answer.meaning not in (ResponseClass.UNCLEAR, ResponseClass.REJECTED):
            return answer
        is_of_set_up = answer.meaning is ResponseClass.UNCLEAR and answer.status in TOKEN_OR_ADDRESS
        with self._lock:
            is_shared = self._count(answer, user_id, request, alone=is_of_set_up)
            is_right = self.is_address_valid
        if is_shared and is_of_set_up:
            return replace(answer, meaning=ResponseClass.MISCONFIGURED)
        if is_right:
            is_page = is_of_set_up and answer.status != 403
            return replace(answer, meaning=ResponseClass.UNKNOWN if is_page else ResponseClass.REJECTED)
        if is_shared:
            text = f"CRM_API_URL names no endpoint of the CRM ({answer.error}, for all users): check the address"
            if answer.meaning is ResponseClass.REJECTED:
                text = f"the CRM rejects all users' records ({answer.error}): check CRM_API_URL and crm_mapping.yaml"
            return replace(answer, meaning=ResponseClass.MISCONFIGURED, error=text)
        return answer

    def _count(self, answer: DeliveryResult, user_id: str, request: int, *, alone: bool) -> bool:
        """Count a response. Returns whether it is shared: enough consecutive users got it, or, with `alone` and no
        acceptance in this run, one user often enough. Waits for the requests in progress: an acceptance among them
        means that it is not shared.
        """
        current = (answer.status, answer.error)
        if current != self._last_answer:
            self._last_answer, self._users, self._awaited = current, Counter(), None
        if user_id in self._users_with_own_fault:
            return False
        self._users[user_id] += 1
        enough = USERS_WITH_SAME_REJECTION if answer.meaning is ResponseClass.REJECTED else USERS_WITH_SAME_ANSWER
        is_enough = len(self._users) >= enough
        is_enough |= alone and not self.is_address_valid and self._users[user_id] >= ANSWERS_TO_ONE_USER
        if is_enough and self._awaited is None:
            self._awaited = set(self._in_progress)
        self._end(request)
        while is_enough and self._awaited and current == self._last_answer:
            self._lock.wait()
        return is_enough and current == self._last_answer

    def _end(self, request: int) -> None:
        self._in_progress.discard(request)
        if self._awaited:
            self._awaited.discard(request)
        self._lock.notify_all()
