"""Evidence of a wrong address or missing rights: a refusal that other people's records get as well.

A web server's 404 for a wrong address and a CRM's 404 for an employee it does not know may be the same to the letter.
What an answer means by itself is in `answers`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from threading import Lock

from zk_pipeline.crm.answers import Answer, Meaning

PEOPLE_ALIKE = 5  # different people in a row who get the same answer before it is the address's
PEOPLE_REFUSED_ALIKE = 20  # the same for refusals of the record, which name what is wrong with it
TIMES_FORBIDDEN = 3  # times in a row that one person's record gets a 403 before it is about the token


class Evidence:
    """Answers of one run that show whether the CRM's address and rights are right. Thread-safe.

    Until the CRM has accepted a record, an answer that may be the address's is UNCLEAR, so that its record is tried
    again and then waits; from then on it is the record's. Where so many different people get the same one after the
    other, with nobody accepted, it is MISCONFIGURED.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._said: tuple[int | None, str | None] | None = None
        self._people: Counter[str] = Counter()
        self.is_right = False  # the address is one at which the CRM takes records

    def accept(self) -> None:
        with self._lock:
            self.is_right = True
            self._said = None

    def weigh(self, answer: Answer, user_id: str) -> Answer:
        """The answer to a record of `user_id`, with the meaning that it has after all answers before it."""
        if answer.meaning is Meaning.DELIVERED:
            self.accept()
            return answer
        if answer.meaning not in (Meaning.UNCLEAR, Meaning.REFUSED):
            return answer
        people = self._count(answer, user_id)
        is_everybodys = people >= (PEOPLE_REFUSED_ALIKE if answer.meaning is Meaning.REFUSED else PEOPLE_ALIKE)
        is_forbidden = answer.status == 403 and answer.meaning is Meaning.UNCLEAR
        if is_forbidden and (is_everybodys or (not self.is_right and self._people[user_id] >= TIMES_FORBIDDEN)):
            return replace(answer, meaning=Meaning.MISCONFIGURED)
        if self.is_right:
            return replace(answer, meaning=Meaning.REFUSED)
        if is_everybodys:
            text = f"CRM_API_URL names no endpoint of the CRM ({answer.error}, for everybody): check the address"
            if answer.meaning is Meaning.REFUSED:
                text = f"the CRM refuses everybody alike ({answer.error}): check CRM_API_URL and crm_mapping.yaml"
            return replace(answer, meaning=Meaning.MISCONFIGURED, error=text)
        return answer

    def _count(self, answer: Answer, user_id: str) -> int:
        """The number of different people in a row who got this answer."""
        said = (answer.status, answer.error)
        with self._lock:
            if said != self._said:
                self._said, self._people = said, Counter()
            self._people[user_id] += 1
            return len(self._people)
