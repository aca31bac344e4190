"""Requests of pushing terminals: paths and query parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from zk_pipeline.errors import ZkPipelineError

RequestKind = Literal[
    "hello",
    "time",
    "upload",
    "options",
    "photo",
    "remote_att",
    "online_decision",
    "registry",
    "push_config",
    "exchange",
    "getrequest",
    "ping",
    "devicecmd",
    "querydata",
    "file",
]


class RequestError(ZkPipelineError):
    """A request that no terminal sends. `status` is the HTTP status of its answer, the message one line for the log."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class PushRequest:
    """One request of a terminal, without its body.

    `endpoint`: the last segment of the path in lower case, without `.aspx`. `serial`: as sent, at most 32 letters,
    digits, `_` and `-`. `secret`: the segments before `/iclock`, joined by `/`, None without any. `table`: canonical
    name for `parse_upload`, such as "ATTLOG" or "TABLEDATA:transaction"; None if the request has none. `stamp`: exactly
    as received, None without any. `parameters`: values by lower-case name, percent-decoded, including those above.
    """

    kind: RequestKind
    endpoint: str
    serial: str
    secret: str | None
    table: str | None
    stamp: str | None
    parameters: Mapping[str, str]


def parse_request(method: str, path: str, query: bytes) -> PushRequest:
    """Read a request line. `path` is percent-decoded, `query` as received.

    Raises RequestError with status 400 (no valid serial number, table or stamp), 404 (path) or 405 (method).
    """
    raise NotImplementedError
