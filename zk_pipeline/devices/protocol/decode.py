"""Tables of a terminal, as complete bytes in a known layout, into the frames of a Reading.

No I/O, no choice of layout.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.devices.models import REJECTED_COLUMNS, USER_COLUMNS, Device, punches_frame
from zk_pipeline.devices.protocol.record_layouts import Layout, decode_times, format_raw_time

Objects = npt.NDArray[np.object_]
Mask = npt.NDArray[np.bool_]


def decode_log(
    table: bytes, layout: Layout, *, encoding: str, first_index: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Punches and rejected records, in log order, with the columns and dtypes that Reading promises.

    Records that name only a slot have no `user_id` yet, see Reading. Rejected are dates that do not exist and user ids
    that are no text. The length of `table` must be a multiple of the layout's; `first_index` is the place of its first
    record in the whole log.
    """
    records = layout.records(table)
    times = decode_times(records["time"])
    user_ids = _user_ids(records, encoding)
    is_impossible = np.isnat(times)
    is_nobody = _is_nobody(records, user_ids)
    is_bad = is_impossible | is_nobody
    # Mostly all are good: no need to copy every column then.
    good = ~is_bad if is_bad.any() else slice(None)
    optional: dict[str, Any] = {"user_id": user_ids[good]}
    if not layout.names_users:
        optional = {"uid": records["uid"][good], "raw": _raw(table, layout)[good]}
    if "work_code" in (records.dtype.names or ()):
        optional["work_code"] = records["work_code"][good]
    punches = punches_frame(
        **optional,
        punched_at_local=times[good],
        status=records["status"][good],
        punch_state=layout.states(records)[good],
        verify_type=layout.verify_types(records)[good],
    )
    rejected = _rejected(table, layout, is_impossible, is_nobody)
    rejected["record_index"] += first_index
    return punches, rejected


def decode_users(table: bytes, layout: Layout, *, encoding: str) -> pd.DataFrame:
    """The user list in the terminal's order, columns USER_COLUMNS; entries without a user id are left out.

    A name that the terminal cut in the middle of a character ends before it; other bytes that are none in `encoding`
    become U+FFFD. Passwords are not decoded.
    """
    records = layout.records(table)
    users = pd.DataFrame(
        {
            "user_id": _user_ids(records, encoding),
            "uid": records["uid"].astype("int64"),
            "name": _mapped(records["name"], lambda raw: _name(raw, encoding, records.dtype["name"].itemsize)),
            "privilege": records["privilege"].astype("int64"),
            "card": records["card"].astype("int64"),
        },
        columns=USER_COLUMNS,
    )
    identified: pd.DataFrame = users[users["user_id"].notna()].reset_index(drop=True)
    return identified


def _user_ids(records: npt.NDArray[np.void], encoding: str) -> Objects:
    """A user id per record, None where there is none or the record names only a slot."""
    fields = records.dtype.names or ()
    if "user_id" in fields:
        return _mapped(records["user_id"], lambda raw: user_id_text(raw, encoding))
    if "number" in fields:
        return _numbers(records["number"])
    return np.full(len(records), None, dtype=object)


def _is_nobody(records: npt.NDArray[np.void], user_ids: Objects) -> Mask:
    """Records that name neither a user id nor a slot."""
    fields = records.dtype.names or ()
    if "user_id" in fields or "number" in fields:
        is_nobody: Mask = user_ids == None  # noqa: E711 (elementwise)
        return is_nobody
    return records["uid"] == 0


def _raw(table: bytes, layout: Layout) -> Objects:
    """The bytes of each record: one that names only a slot may have to wait in quarantine for its holder."""
    raw: Objects = np.frombuffer(table, dtype=np.dtype((np.void, layout.size))).astype(object)
    return raw


def _numbers(column: npt.NDArray[np.uint32]) -> Objects:
    return _mapped(column, lambda number: str(number) if number else None)


def _mapped(column: npt.NDArray[Any], convert: Callable[[Any], str | None]) -> Objects:
    """`convert` applied to a column, once per distinct value: logs repeat few people many times."""
    codes = _codes(column)
    firsts = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.intp)
    firsts[codes[::-1]] = np.arange(len(column))[::-1]
    converted = np.empty(len(firsts), dtype=object)
    converted[:] = [convert(value) for value in column[firsts].tolist()]
    mapped: Objects = converted[codes]
    return mapped


def _codes(column: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """A number per distinct value, from 0. Bytes are compared as words: many times faster than as objects."""
    if column.dtype.kind != "S":
        return pd.factorize(column)[0]
    words = np.ascontiguousarray(column).view("<u8").reshape(len(column), column.dtype.itemsize // 8)
    codes = np.zeros(len(column), dtype=np.intp)
    for word in words.T:
        if len(word) and (word != word[0]).any():
            more, distinct = pd.factorize(word)
            codes = pd.factorize(codes * len(distinct) + more)[0]
    return codes


def user_id_text(raw: bytes, encoding: str) -> str | None:
    """The user id in a field that zeros fill up, None where it is empty or no text."""
    try:
        text = raw.split(b"\0", 1)[0].decode(encoding)
    except UnicodeDecodeError:
        return None
    return text if text.strip() and text.isprintable() else None


def _name(raw: bytes, encoding: str, size: int) -> str:
    text = raw.split(b"\0", 1)[0]
    # Only a name that fills its field (some firmware ends it with a zero) was cut.
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    return decoder.decode(text, final=len(text) < size - 1).strip()


def unreadable_names(users: pd.DataFrame, device: Device) -> tuple[str, ...]:
    """A line if names in a user list (columns USER_COLUMNS) are not in the device's encoding, with what to do."""
    count = int(users["name"].str.contains("\ufffd", regex=False).sum())
    return (_not_encoded(f"{count} of {len(users)} names", device),) if count else ()


def unreadable_ids(table: bytes, layout: Layout, users: pd.DataFrame, device: Device) -> tuple[str, ...]:
    """A line if `users`, decoded from `table`, lacks people whose user ids are not in the device's encoding."""
    field = "user_id" if "user_id" in (layout.dtype.names or ()) else "number"
    filled = int(np.count_nonzero(layout.records(table)[field]))
    count = filled - len(users)
    return (_not_encoded(f"{count} of {filled} user ids", device),) if count else ()


def _not_encoded(what: str, device: Device) -> str:
    return (
        f"{device.name}: {what} in the terminal's user list are no text in {device.encoding}. Set the encoding that it "
        f'uses (such as GBK or cp1256): `zk-pipeline device update "{device.name}" --encoding ENCODING`, then '
        f'`zk-pipeline poll "{device.name}" --full`.'
    )


def _rejected(table: bytes, layout: Layout, is_impossible: Mask, is_nobody: Mask) -> pd.DataFrame:
    records = layout.records(table)
    rows = np.flatnonzero(is_impossible | is_nobody)
    raw = [table[row * layout.size : (row + 1) * layout.size] for row in rows]
    reasons = []
    for row in rows:
        date = f"impossible date {format_raw_time(int(records['time'][row]))}" if is_impossible[row] else ""
        nobody = _nobody(records[row]) if is_nobody[row] else ""
        reasons.append("; ".join(filter(None, (date, nobody))))
    columns = {"record_index": rows.astype("int64"), "raw": raw, "reason": reasons}
    rejected: pd.DataFrame = pd.DataFrame(columns, columns=REJECTED_COLUMNS).astype({"raw": object, "reason": object})
    return rejected


def _nobody(record: Any) -> str:
    """Why a record names no user."""
    if "user_id" in record.dtype.names:
        return "the user id is empty or no text"
    return "the user id is 0" if "number" in record.dtype.names else "the uid is 0"
