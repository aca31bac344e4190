"""Requests of pushing terminals: paths and query parameters.

Sources: the maker's "PUSH SDK" 2.2 and 3.2 (attendance), "Security PUSH" 3.1.2 (access control), and a published source
of the push client in firmware of 2013; `.aspx` paths and parameter names in other case are those of eSSL firmware and
of public receivers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

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
MAX_STAMP_LENGTH = 64
# Table of an upload that names none, or none that could be a name. A terminal repeats what is refused without end, and
# before all later punches; lines of an unknown table go to quarantine.
UNNAMED = "UNNAMED"

_SERIAL = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TABLE = re.compile(r"[A-Za-z0-9_]{1,32}")
_GET, _POST, _BOTH = frozenset({"GET"}), frozenset({"POST"}), frozenset({"GET", "POST"})
# The documents contradict each other about the method of registry, push and rtdata.
_ENDPOINTS: dict[str, tuple[RequestKind, frozenset[str]]] = {
    "rtdata": ("time", _BOTH),
    "registry": ("registry", _BOTH),
    "push": ("push_config", _BOTH),
    "exchange": ("exchange", _BOTH),
    "ping": ("ping", _BOTH),
    "getrequest": ("getrequest", _GET),
    "file": ("file", _GET),
    "devicecmd": ("devicecmd", _POST),
    "querydata": ("querydata", _POST),
    "fdata": ("photo", _POST),
    "event": ("upload", _POST),  # door states of the push client of 2013
}
# Old firmware has OpStamp for all other tables.
_OWN_STAMPS = {"ATTLOG": "stamp", "ATTPHOTO": "photostamp"}


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
    name for `parse_upload`, such as "ATTLOG" or "TABLEDATA:transaction", UNNAMED for an upload without a valid one,
    None if the request is no upload. `stamp`: exactly as received, None without any that can be sent back.
    `parameters`: values by lower-case name, percent-decoded, including those above.
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

    Raises RequestError with status 400 (no valid serial number, or a GET of unknown meaning), 404 (path) or 405
    (method).
    """
    endpoint, secret = _split_path(path)
    parameters = _parameters(query)
    kind = _kind(method, endpoint, parameters)
    table = _table(endpoint, kind, parameters)
    return PushRequest(kind, endpoint, _serial(parameters), secret, table, _stamp(table, parameters), parameters)


def _split_path(path: str) -> tuple[str, str | None]:
    """The endpoint, and the secret segments before `/iclock`."""
    segments = [segment for segment in path.split("/") if segment]
    endpoint = segments[-1].lower().removesuffix(".aspx") if segments else ""
    if len(segments) < 2 or segments[-2].lower() != "iclock" or (endpoint != "cdata" and endpoint not in _ENDPOINTS):
        raise RequestError(404, f"no terminal requests the path {path[:100]!r}; its server address must end in /iclock")
    return endpoint, "/".join(segments[:-2]) or None


def _parameters(query: bytes) -> dict[str, str]:
    """Values by lower-case name; the first one of a repeated name. `+` is no blank: terminals send no web forms."""
    parameters: dict[str, str] = {}
    for part in query.decode("utf-8", "replace").split("&"):
        name, _, value = part.partition("=")
        if "%" in part:
            name, value = unquote(name), unquote(value)
        parameters.setdefault(name.lower(), value)
    return parameters


def _kind(method: str, endpoint: str, parameters: Mapping[str, str]) -> RequestKind:
    if endpoint == "cdata":
        return _cdata_kind(method, parameters)
    kind, methods = _ENDPOINTS[endpoint]
    if method not in methods:
        raise RequestError(405, f"{method[:20]!r} of /iclock/{endpoint}; terminals use {' or '.join(sorted(methods))}")
    return kind


def _cdata_kind(method: str, parameters: Mapping[str, str]) -> RequestKind:
    """The meaning of a request for cdata, which depends on its parameters."""
    if method not in _BOTH:
        raise RequestError(405, f"{method[:20]!r} of /iclock/cdata; terminals use GET or POST")
    table, form = parameters.get("table", "").lower(), parameters.get("type", "").lower()
    if "authtype" in parameters or form in ("postverifydata", "lastpunch") or table == "selfservicedata":
        return "online_decision"
    if table == "remoteatt":
        return "remote_att"
    if table:
        return _upload_kind(method, table)
    if form == "time":
        return "time"
    if not form and (method == "GET" or "options" in parameters):
        return "hello"
    if method == "POST":
        return "upload"
    raise RequestError(400, f"GET of /iclock/cdata with neither a table nor a known type (type {form[:40]!r})")


def _upload_kind(method: str, table: str) -> RequestKind:
    if method != "POST":
        raise RequestError(405, f"GET of /iclock/cdata with table {table[:40]!r}; terminals upload with POST")
    if table == "options":
        return "options"
    return "photo" if table == "attphoto" else "upload"


def _serial(parameters: Mapping[str, str]) -> str:
    serial = parameters.get("sn", "")
    if not _SERIAL.fullmatch(serial):
        raise RequestError(400, f"{serial[:40]!r} is no serial number: 1 to 32 letters, digits, _ and - are expected")
    return serial


def _table(endpoint: str, kind: RequestKind, parameters: Mapping[str, str]) -> str | None:
    """The canonical table, such as ATTLOG or TABLEDATA:user."""
    if kind == "photo":
        return "ATTPHOTO"
    if endpoint == "event":
        return "EVENT"
    if kind == "querydata":
        table = parameters.get("type") or "tabledata"
    elif kind in ("upload", "options"):
        table = parameters.get("table", "")
    else:
        return None
    name = parameters.get("tablename", "") if table.upper() == "TABLEDATA" else table
    if not _TABLE.fullmatch(name):
        return UNNAMED
    return f"TABLEDATA:{name.lower()}" if table.upper() == "TABLEDATA" else name.upper()


def _stamp(table: str | None, parameters: Mapping[str, str]) -> str | None:
    """The stamp under its names of old and new firmware. Control characters would be lines of the next option block."""
    if table is None:
        return None
    stamp = parameters.get(_OWN_STAMPS.get(table, "opstamp")) or parameters.get("stamp")
    if stamp and (len(stamp) > MAX_STAMP_LENGTH or not stamp.isprintable()):
        return None
    return stamp or None
