"""JSON documents in responses: parsing, paths, and the fields with which CRMs report a failure.

The classification of a whole response is in `responses`. The signs of failure are those of JSON-RPC 2.0 and GraphQL
(`error`, `errors`), of RFC 9457 (problem documents), and `success`, `ok`, `status` or `code` in a 200 response.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.message import Message

MISSING = object()  # no value at a path
_MAX_DEPTH = 5  # nesting depth to which signs of failure are searched

_SUCCESS_FLAGS = {"success", "successful", "succeeded", "issuccess", "issuccessful", "ok", "isok"}
_ERROR_FIELDS = {
    "error", "errors", "iserror", "haserror", "haserrors", "errormessage", "errorcode", "errorcount", "fault", "faults",
    "faultstring", "exception", "exceptions", "failed", "failure", "failures",
}  # fmt: skip
_STATE_FIELDS = {"status", "state", "result", "outcome"}
_STATUS_FIELDS = {"status", "statuscode", "httpstatus", "httpcode"}
# Objects that wrap the result. In other objects, the CRM's own data, a status is about something else.
_ENVELOPES = {
    "result",
    "results",
    "response",
    "responses",
    "data",
    "meta",
    "header",
    "body",
    "payload",
    "items",
    "records",
    "d",
}
_FAILURE_TEXT = re.compile(
    r"(err(or)?s?|fail(ed|ure|s)?|fault|exception|reject(ed)?|refused?|invalid|denied|unauthori[sz]ed|forbidden|"
    r"unsuccessful|not[ _-]?(ok|found|saved|stored|accepted|allowed)|nok|ko)(?![a-z])"
)
_SUCCESS_TEXT = re.compile(
    r"(ok|success(ful(ly)?)?|succeeded|created|updated|stored|saved|delivered|duplicate|unchanged)"
)
_NO_ERROR_TEXT = re.compile(r"0*|none|null|nil|false|ok|success|no errors?|n/a|\[\]|\{\}")


def plain_name(name: str) -> str:
    """A field's name in lower case without separators: `isSuccess`, `is_success` and `Is-Success` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def parse_json(body: bytes, content_type: str = "") -> object:
    """The value of a JSON document. Raises ValueError for anything else, nested too deeply included."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        header = Message()
        header["Content-Type"] = content_type
        charset = header.get_content_charset()
        if charset is None:
            raise
        try:
            return json.loads(body.decode(charset))
        except LookupError:
            raise ValueError("its character set is not known") from None


def value_at(document: object, path: str) -> object:
    """The value at a dotted path such as `errors.0.code` (numbers are list positions); MISSING without one."""
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step, MISSING)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def failure_sign(document: object) -> str | None:
    """The first field that is a sign of failure, or the text if the document is one; None without a sign.

    `success: false` and a non-empty `error` count at any depth; a `status` of 400 or more, or a text such as "failed",
    only in an object that wraps the result. A document that is `false` or such a text is a sign as well.
    """
    if document is False:
        return "false"
    if isinstance(document, str):
        return document if _is_failure_text(document) else None
    try:
        for name, value, is_envelope, is_top in _walk_fields(document, True, _MAX_DEPTH):
            if _has_failed(plain_name(name), value, is_envelope=is_envelope, is_top=is_top):
                return name
    except RecursionError:
        return "nested too deeply"
    return None


def _has_failed(name: str, value: object, *, is_envelope: bool, is_top: bool) -> bool:
    if name in _SUCCESS_FLAGS:
        return _is_false(value)
    if name in _ERROR_FIELDS:
        return not _is_no_error(value)
    if is_envelope and name in _STATE_FIELDS and isinstance(value, str) and _is_failure_text(value):
        return True
    is_status = (is_envelope and name in _STATUS_FIELDS) or (is_top and name == "code")
    return is_status and (status_of(value) or 0) >= 400


def reports_success(document: dict[str, object]) -> bool:
    """Whether an object reports success: `success: true`, or a status text such as "created"."""
    fields = [(plain_name(name), value) for name, value in document.items()]
    return any(
        (name in _SUCCESS_FLAGS and value is True)
        or (name in _STATE_FIELDS and isinstance(value, str) and bool(_SUCCESS_TEXT.fullmatch(value.strip().lower())))
        for name, value in fields
    )


def status_of(value: object) -> int | None:
    """An HTTP status written as a number or as text (`201`, `"201"`, `"201 Created"`); None for anything else."""
    if isinstance(value, str) and (found := re.match(r"\s*([1-5]\d\d)(?!\w)", value)):
        return int(found.group(1))
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    return int(value) if is_number and 100 <= value < 600 else None  # type: ignore[call-overload,operator]


def whole_number(value: object) -> int | None:
    """A number written as JSON integer or in ASCII digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _walk_fields(value: object, is_envelope: bool, depth: int) -> Iterator[tuple[str, object, bool, bool]]:
    """Name and value of each field, whether its object wraps the result, and whether it is at the top level."""
    if depth == 0:
        return
    if isinstance(value, list):
        for each in value:
            yield from _walk_fields(each, is_envelope, depth - 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner, is_envelope, depth == _MAX_DEPTH
        for name, inner in value.items():
            yield from _walk_fields(inner, is_envelope and plain_name(name) in _ENVELOPES, depth - 1)


def _is_failure_text(text: str) -> bool:
    return bool(_FAILURE_TEXT.match(text.strip().lower()))


def _is_false(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("false", "no", "0", "n") or _is_failure_text(value)
    return value is not None and value in (False, 0)


def _is_no_error(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_no_error, value.values()))
    if isinstance(value, list):
        return all(map(_is_no_error, value))
    return not value or (isinstance(value, str) and bool(_NO_ERROR_TEXT.fullmatch(value.strip().lower())))
