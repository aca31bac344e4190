"""Fields of uploaded lines: text, times, numbers, and lines without their secrets."""

from __future__ import annotations

import codecs
import re
from datetime import datetime

from zk_pipeline.devices.push.records import UNKNOWN, LineError, PushedPunch, Record

MAX_USER_ID_LENGTH = 32
MAX_DETAIL_LENGTH = 400
MAX_RAW_BYTES = 8192
FIRST_YEAR, LAST_YEAR = 2000, 2099  # as in the logs that are read by polls

_MAX_INT32, _MAX_INT64 = 2**31 - 1, 2**63 - 1
_CODES = {str(code): code for code in range(256)} | {"": UNKNOWN}
# `fromisoformat` reads further forms, such as dates of weeks.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", re.ASCII)
_HEX_CARD = re.compile(r"\[([0-9a-fA-F]{8})[0-9a-fA-F]*\]")
# Keys of passwords, templates and photos in lines of `key=value` fields.
_SECRET = re.compile(rb"\b(\w*(?:passw|pwd|tmp|template|photo|content|idnum)\w*)\s*=[^\t\r\n]*", re.IGNORECASE)
_USER_LINE = re.compile(rb"\s*USER\b", re.IGNORECASE)
_PUBLIC_USER_FIELD = re.compile(rb"\s*(USER\s+)?(PIN|Name|Pri|Privilege|Card|CardNo|Grp|UID)\s*=", re.IGNORECASE)
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n\0"
_CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NUL_INSIDE = re.compile(rb"[^\t\r\n\0 ]\0+[^\t\r\n\0 ]")
_PLAIN_SHARE = 0.6  # of the bytes of any text line; 0.39 of random bytes
_SAMPLE_BYTES = 65_536


def encodings(encoding: str) -> tuple[str, ...]:
    """The device's encoding and those of the terminals' firmware (UTF-8, on Chinese terminals GB18030)."""
    return tuple(dict.fromkeys((encoding, "utf-8", "gb18030")))


def line_text(raw: bytes, candidates: tuple[str, ...]) -> str:
    """A line as text, without its NUL bytes. Bytes that are valid in no encoding become U+FFFD."""
    if b"\0" in raw:
        raw = raw.replace(b"\0", b"")
    for encoding in ("ascii", *candidates):
        try:
            return raw.decode(encoding)
        except UnicodeError:
            continue
    return raw.decode("utf-8", "replace")


def check_user_id(record: Record | None, raw: bytes, candidates: tuple[str, ...]) -> None:
    """Check that the user id of a line that is not plain ASCII is certain: a guess would store another user's punch.

    `candidates`: as from `encodings`. A name may be guessed from another encoding than that of the device, a user id
    not. Raises LineError.
    """
    if isinstance(record, PushedPunch) and _NUL_INSIDE.search(raw):
        raise LineError("a NUL byte is inside of a field")
    if record is not None and not record.user_id.isascii() and not _is_decodable(raw, candidates[:2]):
        raise LineError(
            f"the user id is no text in {candidates[0]}: correct the encoding of the device "
            "(`zk-pipeline device update NAME --encoding`), then release the line"
        )


def _is_decodable(raw: bytes, candidates: tuple[str, ...]) -> bool:
    for encoding in candidates:
        try:
            raw.decode(encoding)
        except UnicodeError:
            continue
        return True
    return False


def is_text(body: bytes, candidates: tuple[str, ...]) -> bool:
    """True for a body that may be text in one of the encodings: encrypted and compressed bodies are not.

    Firmware of 2013 begins an encrypted body with `LZO1` (published source of its push client).
    """
    sample = body[:_SAMPLE_BYTES]
    if sample.startswith(b"LZO1"):
        return False
    if len(sample.translate(None, _PRINTABLE)) <= len(sample) * (1 - _PLAIN_SHARE):
        return True
    return any(_is_valid(sample, encoding) for encoding in candidates)


def _is_valid(sample: bytes, encoding: str) -> bool:
    """True for a sample, possibly cut within a character, of text without control characters in the encoding."""
    try:
        return not _CONTROLS.search(codecs.getincrementaldecoder(encoding)().decode(sample))
    except UnicodeError:
        return False


def read_time(text: str) -> datetime:
    """A naive wall-clock time, `2026-03-02 08:41:00`, or with `T`. Raises LineError."""
    text = text.strip()
    if not _TIME.fullmatch(text):
        raise LineError(f"time {text[:40]!r} is not YYYY-MM-DD hh:mm:ss")
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise LineError(f"impossible date {text!a}") from None
    if not FIRST_YEAR <= local.year <= LAST_YEAR:
        raise LineError(f"impossible date {text}: the years {FIRST_YEAR} to {LAST_YEAR} are possible")
    return local


def read_user_id(text: str) -> str:
    """A user id, which may have leading zeros and letters. Raises LineError."""
    user_id = text.strip()
    if not user_id:
        raise LineError("the user id is empty")
    if len(user_id) > MAX_USER_ID_LENGTH:
        raise LineError(f"the user id has {len(user_id)} characters, at most {MAX_USER_ID_LENGTH} are possible")
    if not user_id.isprintable() or "\ufffd" in user_id:
        raise LineError("the user id is no text")
    if "=" in user_id:
        raise LineError("the user id contains further fields")
    return user_id


def read_state(text: str) -> int:
    """A punch state; UNKNOWN for an empty one or a number outside 0 to 255. Raises LineError if it is no number."""
    known = _CODES.get(text)
    if known is not None:
        return known
    try:
        return _CODES.get(str(int(text)), UNKNOWN)
    except ValueError:
        raise LineError(f"state {text[:40]!r} is no number") from None


def read_verify_type(text: str) -> int:
    """A verify type; UNKNOWN for anything that is no code, such as the bit strings of access control."""
    return _CODES.get(text.strip(), UNKNOWN)


def read_code(text: str, name: str) -> int:
    """The number of an event or operation. Raises LineError."""
    code = text.strip()
    if not (code.isascii() and code.isdecimal() and len(code) < 10):
        raise LineError(f"{name} {text[:40]!r} is no number" if code else f"the {name} is missing")
    return int(code)


def read_number(text: str, default: int, *, maximum: int = _MAX_INT32) -> int:
    """A number that may be missing: `default` for all that is no number from 0 to `maximum`."""
    digits = text.strip()
    if digits.isascii() and digits.isdecimal() and len(digits) < 20 and int(digits) <= maximum:
        return int(digits)
    return default


def read_work_code(text: str) -> int | None:
    """A work code; None for an empty one and for one with letters."""
    if text == "0":  # nearly always
        return 0
    code = read_number(text, -1, maximum=_MAX_INT64)
    return None if code < 0 else code


def read_card(text: str) -> int:
    """A card number: decimal, or `[hex bytes]` with the least significant byte first; 0 for none.

    Source: "PUSH" 2.4.2 for both forms; the order of the bytes is that of the user record which the firmware prints.
    """
    if hexadecimal := _HEX_CARD.fullmatch(text.strip()):
        return int.from_bytes(bytes.fromhex(hexadecimal[1]), "little")
    return read_number(text, 0, maximum=_MAX_INT64)


def read_pairs(text: str) -> dict[str, str]:
    """Values by lower-case key of tab-separated `key=value` fields in any order.

    A word before a key (`USER PIN=`, `transaction cardno=`) is the table and is left out.
    """
    pairs = {}
    for field in text.split("\t"):
        key, separator, value = field.partition("=")
        if separator:
            key = key.strip().lower()
            pairs[key.rpartition(" ")[2] if " " in key else key] = value.strip()
    return pairs


def detail_text(fields: list[str]) -> str:
    """Remaining fields of an event, separated by tabs."""
    return "\t".join(fields)[:MAX_DETAIL_LENGTH]


def quarantined_raw(raw: bytes) -> bytes:
    """The first MAX_RAW_BYTES of a rejected line, without passwords, templates, photos and numbers of identity cards.

    Of a line of a user only the fields that are stored remain.
    """
    raw = raw[:MAX_RAW_BYTES]
    cleaned = raw.replace(b"\0", b"")
    if _USER_LINE.match(cleaned):
        fields = [field for field in cleaned.split(b"\t") if _PUBLIC_USER_FIELD.match(field)]
        return _SECRET.sub(rb"\1=", b"\t".join(fields)) or b"USER"
    return _SECRET.sub(rb"\1=", cleaned) if _SECRET.search(cleaned) else raw
