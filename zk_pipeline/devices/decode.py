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

from zk_pipeline.devices.layouts import Layout, decode_times, spelled
from zk_pipeline.devices.models import PUNCH_COLUMNS, REJECTED_COLUMNS, USER_COLUMNS, Device

Objects = npt.NDArray[np.object_]
Mask = npt.NDArray[np.bool_]


def decode_log(
    table: bytes, layout: Layout, *, users: pd.DataFrame | None, encoding: str, first_index: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Punches and rejected records, in log order, with the columns and dtypes that Reading promises.

    `users` (columns USER_COLUMNS) gives 8-byte records their user ids. Where it is None or does not hold a
    uid, or holds it twice, the record is rejected: a uid is never taken for a user id. So is one with a date
    that does not exist or a user id that is no text. The length of `table` must be a multiple of the
    layout's; `first_index` is the place of its first record in the whole log.
    """
    records = layout.records(table)
    times = decode_times(records["time"])
    user_ids = _user_ids(records, users, encoding)
    is_impossible, is_nobody = np.isnat(times), user_ids == None  # noqa: E711 (elementwise)
    is_bad = is_impossible | is_nobody
    # Mostly all are good: no need to copy every column then.
    good = ~is_bad if is_bad.any() else slice(None)
    punches = pd.DataFrame(
        {
            "user_id": user_ids[good],
            "punched_at_local": times[good],
            "status": records["status"][good],
            "punch_state": layout.states(records)[good],
            "verify_type": layout.verify_types(records)[good],
            "work_code": _optional(records, "work_code", "Int64", good),
        },
        columns=PUNCH_COLUMNS,
    )
    rejected = _rejected(table, layout, is_impossible, is_nobody, users)
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
            "user_id": _user_ids(records, None, encoding),
            "uid": records["uid"].astype("int64"),
            "name": _mapped(records["name"], lambda raw: _name(raw, encoding, records.dtype["name"].itemsize)),
            "privilege": records["privilege"].astype("int64"),
            "card": records["card"].astype("int64"),
        },
        columns=USER_COLUMNS,
    )
    identified: pd.DataFrame = users[users["user_id"].notna()].reset_index(drop=True)
    return identified


def _user_ids(records: npt.NDArray[np.void], users: pd.DataFrame | None, encoding: str) -> Objects:
    """A user id per record, None where there is none."""
    fields = records.dtype.names or ()
    if "user_id" in fields:
        return _mapped(records["user_id"], lambda raw: user_id_text(raw, encoding))
    if "number" in fields:
        return _numbers(records["number"])
    known = known_uids(users)
    return _mapped(records["uid"], known.get)


def known_uids(users: pd.DataFrame | None) -> dict[int, str]:
    """The user id of each uid that the list holds once."""
    if users is None:
        return {}
    unique = users.drop_duplicates("uid", keep=False)
    return dict(zip(unique["uid"].tolist(), unique["user_id"].tolist(), strict=True))


def _optional(records: npt.NDArray[np.void], name: str, dtype: str, rows: Mask | slice) -> Any:
    """A field as a nullable column, all NA where the layout does not have it."""
    kind = dtype.lower()
    if name in (records.dtype.names or ()):
        values = records[name][rows].astype(kind)
        return pd.arrays.IntegerArray(values, np.zeros(len(values), dtype=bool))
    count = len(records["time"][rows])
    return pd.arrays.IntegerArray(np.zeros(count, dtype=kind), np.ones(count, dtype=bool))


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


def _rejected(
    table: bytes,
    layout: Layout,
    is_impossible: Mask,
    is_nobody: Mask,
    users: pd.DataFrame | None,
) -> pd.DataFrame:
    records = layout.records(table)
    rows = np.flatnonzero(is_impossible | is_nobody)
    raw = [table[row * layout.size : (row + 1) * layout.size] for row in rows]
    reasons = []
    for row in rows:
        date = f"impossible date {spelled(int(records['time'][row]))}" if is_impossible[row] else ""
        nobody = _nobody(records[row], users) if is_nobody[row] else ""
        reasons.append("; ".join(filter(None, (date, nobody))))
    columns = {"record_index": rows.astype("int64"), "raw": raw, "reason": reasons}
    rejected: pd.DataFrame = pd.DataFrame(columns, columns=REJECTED_COLUMNS).astype({"raw": object, "reason": object})
    return rejected


def _nobody(record: Any, users: pd.DataFrame | None) -> str:
    """Why a record names no user."""
    if "user_id" in record.dtype.names:
        return "the user id is empty or no text"
    if "number" in record.dtype.names:
        return "the user id is 0"
    why = "the user list could not be read" if users is None else "the user list does not hold it once"
    return f"uid {record['uid']} has no user id: {why}"
