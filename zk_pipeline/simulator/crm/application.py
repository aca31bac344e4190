"""What the CRM receiver does with a request: credentials, idempotency, and what it applies. No sockets.

The HTTP around it is in `http`, what it has applied in `ledger`.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from zk_pipeline.simulator.crm.faults import Fault, Misbehaviour, Received
from zk_pipeline.simulator.crm.ledger import CrmLedger, Standing
from zk_pipeline.simulator.crm.records import problem_with, split_key


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer before it is put on the wire."""

    status: int
    content: object
    is_replay: bool = False

    @classmethod
    def of(cls, status: int, *, detail: str) -> Reply:
        return cls(status=status, content={"detail": detail})


def _fields(reply: Reply) -> dict[str, object]:
    return reply.content if isinstance(reply.content, dict) else {}


class CrmApplication:
    """The CRM behind the HTTP. `token`, `misbehave` and `unknown_users` may be changed while it serves."""

    def __init__(
        self,
        *,
        token: str,
        scheme: str,
        ledger: CrmLedger,
        misbehave: Misbehaviour,
        unknown_users: Collection[str],
    ) -> None:
        self.token = token
        self.scheme = scheme
        self.ledger = ledger
        self.misbehave = misbehave
        self.unknown_users = unknown_users
        self.stopping = threading.Event()
        self._posts = 0
        self._lock = threading.Lock()

    @property
    def posts(self) -> int:
        """POST requests with the right credentials so far."""
        with self._lock:
            return self._posts

    def is_authorized(self, header: str | None) -> bool:
        expected = f"{self.scheme} {self.token}".encode()
        return hmac.compare_digest(expected, (header or "").encode("latin-1", errors="replace"))

    def received(self, key: str | None, body: bytes) -> Received:
        with self._lock:
            self._posts += 1
            number = self._posts
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        records = value if isinstance(value, list) else [value]
        users = frozenset(str(r.get("user_id")) for r in records if isinstance(r, dict))
        return Received(number=number, key=key, body=body, user_ids=users)

    def serve(self, key: str | None, body: bytes, trouble: Fault) -> Reply:
        """Apply what a POST brings, and say what came of it."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return Reply.of(400, detail="the body is not JSON")
        if not key:
            return Reply.of(400, detail="the header Idempotency-Key is missing")
        if not isinstance(value, list):
            return self._apply(key, value, trouble)
        results = []
        for entry in value:
            split = split_key(entry)
            if split is None:
                return Reply.of(400, detail="each record of an array needs its idempotency_key")
            reply = self._apply(split[0], split[1], trouble)
            results.append({"idempotency_key": split[0], "status": reply.status, **_fields(reply)})
        if trouble.reshape is not None:
            return Reply(status=207, content=trouble.reshape(results))
        return Reply(status=207, content={"results": results[: trouble.keep_results]})

    def _apply(self, key: str, record: Any, trouble: Fault) -> Reply:
        problem = problem_with(record)
        if problem:
            return Reply.of(400, detail=problem)
        if record["user_id"] in self.unknown_users:
            return Reply.of(422, detail=f"no employee {record['user_id']}")
        if record["user_id"] in trouble.record_status:
            return Reply.of(trouble.record_status[record["user_id"]], detail="told to refuse this record")
        applied: dict[str, object] = {"applied": record["revision"]}
        standing = self.ledger.begin(key, record)
        if standing is not Standing.NEW:
            return {
                Standing.IN_PROGRESS: Reply.of(409, detail="a request with this key is under way"),
                Standing.OTHER_BODY: Reply.of(422, detail="this key was used for another record"),
                Standing.APPLIED: Reply(status=200, content=applied, is_replay=True),
            }[standing]
        if self.stopping.wait(trouble.delay_before):
            self.ledger.abandon(key)
            return Reply.of(503, detail="shutting down")
        self.ledger.commit(key, record)
        return Reply(status=201, content=applied)
