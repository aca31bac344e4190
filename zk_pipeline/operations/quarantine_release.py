"""Release quarantined records: decode them again after an encoding was corrected or the user list became known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zk_pipeline.devices.models import Device, punches_frame
from zk_pipeline.devices.protocol.decode import decode_log
from zk_pipeline.devices.protocol.record_layouts import LOG_LAYOUTS, Layout
from zk_pipeline.devices.push.uploads import parse_quarantined
from zk_pipeline.operations.poll import storage_error
from zk_pipeline.store.errors import is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.quarantine import QuarantinedRecord


@dataclass(frozen=True)
class ReleaseResult:
    """Result of releasing the quarantined records of one device."""

    device: str
    records: int  # released
    new: int  # punches among them that were not stored yet
    left: int  # records that still cannot be a punch
    error: str | None = None  # reason if none was released


def release_quarantine(
    store: Store, devices: Sequence[str] | None = None, *, punch_events: Collection[int] | None = None
) -> list[ReleaseResult]:
    """Decode every record in quarantine (of `devices`, if given) again; store those that are punches now.

    `punch_events`: codes of access events that are punches (RECEIVER_PUNCH_EVENTS); None: those of the protocol.
    Their work dates become stale; the records stay, marked as released. A device whose records cannot be stored
    (`error`) does not affect others. Raises UnknownDevice, and errors of the store itself.
    """
    registered = store.devices.all() if devices is None else store.devices.select(devices)
    done = []
    for device in registered:
        records = store.quarantine.of(device.name)
        if not records:
            continue
        try:
            done.append(_release(store, device, records, punch_events))
        except Exception as error:
            if is_store_failure(error):
                raise
            _, message = storage_error(device.name, "its records cannot be released and stay in quarantine", error)
            done.append(ReleaseResult(device.name, 0, 0, len(records), message))
    return done


def _release(
    store: Store, device: Device, records: Sequence[QuarantinedRecord], punch_events: Collection[int] | None
) -> ReleaseResult:
    layout, released, new = store.quarantine.layout_of(device.name), 0, 0
    for source in dict.fromkeys(one.source for one in records):
        punches = _decode([one for one in records if one.source == source], layout, device.encoding, punch_events)
        some_released, some_new = store.quarantine.release(device, punches, source=source)
        released, new = released + some_released, new + some_new
    return ReleaseResult(device.name, released, new, len(records) - released)


def _decode(
    records: Sequence[QuarantinedRecord], layout_name: str | None, encoding: str, punch_events: Collection[int] | None
) -> pd.DataFrame:
    """The records that can be punches, as Reading.punches with the bytes of each."""
    frames = []
    for one in records:
        if one.record_format is not None:
            punches = _lines(one.record_format, one.raw, encoding, punch_events)
        elif layout := _layout(len(one.raw), layout_name):
            punches, _ = decode_log(one.raw, layout, encoding=encoding)
        else:
            continue
        frames.append(punches.assign(raw=[one.raw] * len(punches)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _lines(record_format: str, raw: bytes, encoding: str, punch_events: Collection[int] | None) -> pd.DataFrame:
    """Punches of a pushed line, as Reading.punches; none of a line that is still unreadable."""
    found = parse_quarantined(record_format, raw, encoding=encoding, punch_events=punch_events)
    return punches_frame(
        user_id=[one.user_id for one in found],
        punched_at_local=np.array([one.punched_at_local for one in found], dtype="datetime64[s]"),
        status=[one.verify_type for one in found],
        punch_state=[one.punch_state for one in found],
        verify_type=[one.verify_type for one in found],
        work_code=pd.array([one.work_code for one in found], dtype="Int64"),
    )


def _layout(size: int, name: str | None) -> Layout | None:
    """The layout of the terminal's latest reading, else the only or most common one of that size."""
    fitting = [layout for layout in LOG_LAYOUTS if layout.size == size]
    return next((layout for layout in fitting if layout.name == name), next(iter(fitting), None))
