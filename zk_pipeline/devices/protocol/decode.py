"""Decode tables of a terminal, complete bytes in a known layout, into the frames of a Reading."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zk_pipeline.data_libraries import np, pd
from zk_pipeline.devices.models import REJECTED_COLUMNS, USER_COLUMNS, Device, punches_frame
from zk_pipeline.devices.protocol.record_layouts import Layout, decode_times, format_raw_time

if TYPE_CHECKING:
    import numpy.typing as npt

    Objects = npt.NDArray[np.object_]
    Mask = npt.NDArray[np.bool_]


def decode_log(
    table: bytes, layout: Layout, *, encoding: str, first_index: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Punches and rejected records, in log order, with the columns and dtypes of Reading.

    Records that name only a slot have no `user_id` yet, see Reading. Rejected are impossible dates and user ids that
    are not text. The length of `table` must be a multiple of the record size; `first_index` is the index of its first
    record in the whole log.
    """
    records = layout.records(table)
    times = decode_times(records["time"])
    user_ids = _user_ids(records, encoding)
    is_impossible = np.isnat(times)
    lacks_user = _lacks_user(records, user_ids)
    is_rejected = is_impossible | lacks_user
    # Usually all records are valid: a slice avoids a copy of every column.
    valid = ~is_rejected if is_rejected.any() else slice(None)
    optional: dict[str, Any] = {"user_id": user_ids[valid]}
    if not layout.names_users:
        optional = {"uid": records["uid"][valid], "raw": _raw(table, layout)[valid]}
    if "work_code" in (records.dtype.names or ()):
        optional["work_code"] = records["work_code"][valid]
    punches = punches_frame(
        **optional,
        punched_at_local=times[valid],
        status=records["status"][valid],
        punch_state=layout.states(records)[valid],
        verify_type=layout.verify_types(records)[valid],
    )
    rejected = _rejected(table, layout, is_impossible, lacks_user)
    rejected["record_index"] += first_index
    return punches, rejected


def decode_users(table: bytes, layout: Layout, *, encoding: str) -> pd.DataFrame:
    """The user list in the terminal's order, columns USER_COLUMNS; entries without a user id are left out.

    A name that the terminal cut within a character ends before that character; other bytes that are invalid in
    `encoding` become U+FFFD. Passwords are not decoded.
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
    """A user id per record, None if it is missing or the record names only a slot."""
    fields = records.dtype.names or ()
    if "user_id" in fields:
        return _mapped(records["user_id"], lambda raw: user_id_text(raw, encoding))
    if "number" in fields:
        return _numbers(records["number"])
    return np.full(len(records), None, dtype=object)


def _lacks_user(records: npt.NDArray[np.void], user_ids: Objects) -> Mask:
    """Mask of the records with neither a user id nor a slot."""
    fields = records.dtype.names or ()
    if "user_id" in fields or "number" in fields:
        is_without_user: Mask = user_ids == None  # noqa: E711 (elementwise)
        return is_without_user
    return records["uid"] == 0


def _raw(table: bytes, layout: Layout) -> Objects:
    """The bytes of each record: one that names only a slot may have to wait in quarantine for its user."""
    raw: Objects = np.frombuffer(table, dtype=np.dtype((np.void, layout.size))).astype(object)
    return raw


def _numbers(column: npt.NDArray[np.uint32]) -> Objects:
    return _mapped(column, lambda number: str(number) if number else None)


def _mapped(column: npt.NDArray[Any], convert: Callable[[Any], str | None]) -> Objects:
    """`convert` applied to a column, once per distinct value: a log repeats few users many times."""
    codes = _codes(column)
    firsts = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.intp)
    firsts[codes[::-1]] = np.arange(len(column))[::-1]
    converted = np.empty(len(firsts), dtype=object)
    converted[:] = [convert(value) for value in column[firsts].tolist()]
    mapped: Objects = converted[codes]
    return mapped


def _codes(column: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """A number per distinct value, from 0. Bytes are compared as 64-bit integers: much faster than as objects."""
    if column.dtype.kind != "S":
        return pd.factorize(column)[0]
    chunks = np.ascontiguousarray(column).view("<u8").reshape(len(column), column.dtype.itemsize // 8)
    codes = np.zeros(len(column), dtype=np.intp)
    for chunk in chunks.T:
        if len(chunk) and (chunk != chunk[0]).any():
            more, distinct = pd.factorize(chunk)
            codes = pd.factorize(codes * len(distinct) + more)[0]
    return codes


def user_id_text(raw: bytes, encoding: str) -> str | None:
    """The user id in a zero-padded field, None if it is empty or not text."""
    try:
        text = raw.split(b"\0", 1)[0].decode(encoding)
    except UnicodeDecodeError:
        return None
    return text if text.strip() and text.isprintable() else None


def _name(raw: bytes, encoding: str, size: int) -> str:
    text = raw.split(b"\0", 1)[0]
    # Only a name that fills its field (some firmware ends it with a zero) can have been cut.
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    return decoder.decode(text, final=len(text) < size - 1).strip()


def unreadable_names(users: pd.DataFrame, device: Device) -> tuple[str, ...]:
    """A warning if names in a user list (columns USER_COLUMNS) are not in the device's encoding."""
    count = int(users["name"].str.contains("\ufffd", regex=False).sum())
    return (_encoding_warning(f"{count} of {len(users)} names", device),) if count else ()


def unreadable_ids(table: bytes, layout: Layout, users: pd.DataFrame, device: Device) -> tuple[str, ...]:
    """A warning if `users`, decoded from `table`, lacks users whose ids are not in the device's encoding."""
    field = "user_id" if "user_id" in (layout.dtype.names or ()) else "number"
    filled = int(np.count_nonzero(layout.records(table)[field]))
    count = filled - len(users)
    return (_encoding_warning(f"{count} of {filled} user ids", device),) if count else ()


def _encoding_warning(what: str, device: Device) -> str:
    return (
        f"{device.name}: {what} in the terminal's user list are not valid {device.encoding}. Set the terminal's "
        f'encoding (such as GBK or cp1256): `zk-pipeline device update "{device.name}" --encoding ENCODING`, then '
        f'`zk-pipeline poll "{device.name}" --full`.'
    )


def _rejected(table: bytes, layout: Layout, is_impossible: Mask, lacks_user: Mask) -> pd.DataFrame:
    records = layout.records(table)
    rows = np.flatnonzero(is_impossible | lacks_user)
    raw = [table[row * layout.size : (row + 1) * layout.size] for row in rows]
    reasons = []
    for row in rows:
        date = f"impossible date {format_raw_time(int(records['time'][row]))}" if is_impossible[row] else ""
        user = _missing_user_reason(records[row]) if lacks_user[row] else ""
        reasons.append("; ".join(filter(None, (date, user))))
    columns = {"record_index": rows.astype("int64"), "raw": raw, "reason": reasons}
    rejected: pd.DataFrame = pd.DataFrame(columns, columns=REJECTED_COLUMNS).astype({"raw": object, "reason": object})
    return rejected


def _missing_user_reason(record: Any) -> str:
    """Reason why a record names no user."""
    if "user_id" in record.dtype.names:
        return "the user id is empty or no text"
    return "the user id is 0" if "number" in record.dtype.names else "the uid is 0"
