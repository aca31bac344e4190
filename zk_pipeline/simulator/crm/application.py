"""Request handling of the emulated CRM: credentials, idempotency, validation, applied records. No sockets.

HTTP is in `http`, the applied records in `ledger`.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from zk_pipeline.simulator.crm.faults import Fault, FaultRule, ReceivedRequest
from zk_pipeline.simulator.crm.ledger import CrmLedger, KeyState
from zk_pipeline.simulator.crm.records import split_key, validation_error


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An HTTP answer before it is encoded."""

    status: int
    content: object
    is_replay: bool = False

    @classmethod
    def of(cls, status: int, *, detail: str) -> Reply:
        return cls(status=status, content={"detail": detail})


def _fields(reply: Reply) -> dict[str, object]:
    return reply.content if isinstance(reply.content, dict) else {}


class CrmApplication:
    """The CRM behind the HTTP server. `token`, `fault_rule` and `unknown_users` may be changed while it serves."""

    def __init__(
        self,
        *,
        token: str,
        scheme: str,
        ledger: CrmLedger,
        fault_rule: FaultRule,
        unknown_users: Collection[str],
    ) -> None:
        self.token = token
        self.scheme = scheme
        self.ledger = ledger
        self.fault_rule = fault_rule
        self.unknown_users = unknown_users
        self.stopping = threading.Event()
        self._posts = 0
        self._lock = threading.Lock()

    @property
    def posts(self) -> int:
        """Number of POST requests with valid credentials."""
        with self._lock:
            return self._posts

    def is_authorized(self, header: str | None) -> bool:
        expected = f"{self.scheme} {self.token}".encode()
        return hmac.compare_digest(expected, (header or "").encode("latin-1", errors="replace"))

    def received(self, key: str | None, body: bytes) -> ReceivedRequest:
        with self._lock:
            self._posts += 1
            number = self._posts
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        records = value if isinstance(value, list) else [value]
        users = frozenset(str(r.get("user_id")) for r in records if isinstance(r, dict))
        return ReceivedRequest(number=number, key=key, body=body, user_ids=users)

    def serve(self, key: str | None, body: bytes, fault: Fault) -> Reply:
        """Apply the record or records of a POST."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return Reply.of(400, detail="the body is not JSON")
        if not key:
            return Reply.of(400, detail="the header Idempotency-Key is missing")
        if not isinstance(value, list):
            return self._apply(key, value, fault)
        results = []
        for entry in value:
            split = split_key(entry)
            if split is None:
                return Reply.of(400, detail="each record of an array needs its idempotency_key")
            reply = self._apply(split[0], split[1], fault)
            results.append({"idempotency_key": split[0], "status": reply.status, **_fields(reply)})
        if fault.reshape is not None:
            return Reply(status=207, content=fault.reshape(results))
        return Reply(status=207, content={"results": results[: fault.keep_results]})

    def _apply(self, key: str, record: Any, fault: Fault) -> Reply:
        problem = validation_error(record)
        if problem:
            return Reply.of(400, detail=problem)
        if record["user_id"] in self.unknown_users:
            return Reply.of(422, detail=f"no employee {record['user_id']}")
        if record["user_id"] in fault.record_status:
            return Reply.of(fault.record_status[record["user_id"]], detail="injected fault: record refused")
        applied: dict[str, object] = {"applied": record["revision"]}
        standing = self.ledger.begin(key, record)
        if standing is not KeyState.NEW:
            return {
                KeyState.IN_PROGRESS: Reply.of(409, detail="a request with this key is in progress"),
                KeyState.OTHER_BODY: Reply.of(422, detail="this key was used for another record"),
                KeyState.APPLIED: Reply(status=200, content=applied, is_replay=True),
            }[standing]
        if self.stopping.wait(fault.delay_before):
            self.ledger.abandon(key)
            return Reply.of(503, detail="shutting down")
        self.ledger.commit(key, record)
        return Reply(status=201, content=applied)
