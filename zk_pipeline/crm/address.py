"""Evidence of a wrong address or missing rights: an answer that other people's records get as well.

A web server's 404 for a wrong address and a CRM's 404 for an employee it does not know may be the same to the letter.
What an answer means by itself is in `responses`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition

from zk_pipeline.crm.responses import TOKEN_OR_ADDRESS, DeliveryResult, ResponseClass

PEOPLE_ALIKE = 10  # different people in a row who get the same answer before it is the address's
PEOPLE_REFUSED_ALIKE = 20  # the same for refusals of the record, which name what is wrong with it
TIMES_ALONE = 3  # times in a row that one person's record gets a 403 or a web page before it is the set-up's fault


class Evidence:
    """Answers of one run that show whether the CRM's address and rights are right. Thread-safe.

    Until the CRM has accepted a record, an answer that may be the address's is UNCLEAR, so that its record is tried
    again and then waits; from then on it is the record's. Where so many different people get the same one after the
    other, and requests under way by then end without an acceptance, too, it is MISCONFIGURED: a refusal is often
    quicker than an acceptance.
    """

    def __init__(self) -> None:
        self._lock = Condition()
        self._said: tuple[int | None, str | None] | None = None
        self._people: Counter[str] = Counter()  # who got it in a row
        self._own: set[str] = set()  # people who got theirs while others were accepted
        self._begun = 0
        self._under_way: set[int] = set()
        self._awaited: set[int] | None = None  # under way when there was enough of the same answer
        self.is_right = False  # the address is one at which the CRM takes records

    @contextmanager
    def request(self) -> Iterator[int]:
        """The time of one request, whose number is given."""
        with self._lock:
            self._begun += 1
            number = self._begun
            self._under_way.add(number)
        try:
            yield number
        finally:
            with self._lock:
                self._end(number)

    def accept(self) -> None:
        with self._lock:
            self.is_right = True
            self._own |= self._people.keys()
            self._said = self._awaited = None
            self._people = Counter()
            self._lock.notify_all()

    def weigh(self, answer: DeliveryResult, user_id: str, request: int) -> DeliveryResult:
        """The answer to a record of `user_id`, with the meaning that it has after all answers before it."""
        if answer.meaning is ResponseClass.DELIVERED:
            self.accept()
            return answer
        if answer.meaning not in (ResponseClass.UNCLEAR, ResponseClass.REJECTED):
            return answer
        is_of_set_up = answer.meaning is ResponseClass.UNCLEAR and answer.status in TOKEN_OR_ADDRESS
        with self._lock:
            is_everybodys = self._count(answer, user_id, request, alone=is_of_set_up)
            is_right = self.is_right
        if is_everybodys and is_of_set_up:
            return replace(answer, meaning=ResponseClass.MISCONFIGURED)
        if is_right:
            is_page = is_of_set_up and answer.status != 403
            return replace(answer, meaning=ResponseClass.UNKNOWN if is_page else ResponseClass.REJECTED)
        if is_everybodys:
            text = f"CRM_API_URL names no endpoint of the CRM ({answer.error}, for everybody): check the address"
            if answer.meaning is ResponseClass.REJECTED:
                text = f"the CRM refuses everybody alike ({answer.error}): check CRM_API_URL and crm_mapping.yaml"
            return replace(answer, meaning=ResponseClass.MISCONFIGURED, error=text)
        return answer

    def _count(self, answer: DeliveryResult, user_id: str, request: int, *, alone: bool) -> bool:
        """Count an answer. True where it is everybody's: enough people in a row got it, or, with `alone` and nothing
        accepted in this run, one person often enough; and nothing that was under way by then was accepted, which is
        waited for.
        """
        said = (answer.status, answer.error)
        if said != self._said:
            self._said, self._people, self._awaited = said, Counter(), None
        if user_id in self._own:
            return False
        self._people[user_id] += 1
        enough = PEOPLE_REFUSED_ALIKE if answer.meaning is ResponseClass.REJECTED else PEOPLE_ALIKE
        is_enough = len(self._people) >= enough
        is_enough |= alone and not self.is_right and self._people[user_id] >= TIMES_ALONE
        if is_enough and self._awaited is None:
            self._awaited = set(self._under_way)
        self._end(request)
        while is_enough and self._awaited and said == self._said:
            self._lock.wait()
        return is_enough and said == self._said

    def _end(self, request: int) -> None:
        self._under_way.discard(request)
        if self._awaited:
            self._awaited.discard(request)
        self._lock.notify_all()
