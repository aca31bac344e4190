"""Quarantined records, read again: after an encoding was set right, or once the terminal's user list is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.decode import decode_log
from zk_pipeline.devices.protocol.record_layouts import LOG_LAYOUTS, Layout
from zk_pipeline.operations.poll import unstorable
from zk_pipeline.store.errors import is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.quarantine import QuarantinedRecord


@dataclass(frozen=True)
class Released:
    """What reading the records of one device again came to."""

    device: str
    records: int  # that could be read now
    new: int  # punches among them that were not stored yet
    left: int  # records that still cannot be a punch
    error: str | None = None  # why none of them was released


def release(store: Store, devices: Sequence[str] | None = None) -> list[Released]:
    """Read every record in quarantine again; what is a punch now is stored, its dates become stale.

    The record stays, marked as released. Only of `devices`, where given. A device whose records cannot be stored
    (`error`) costs the others nothing. Raises UnknownDevice, and what the store raises when it fails itself.
    """
    registered = store.devices.all() if devices is None else store.devices.select(devices)
    done = []
    for device in registered:
        held = store.quarantine.of(device.name)
        if not held:
            continue
        try:
            done.append(_release(store, device, held))
        except Exception as error:
            if is_store_failure(error):
                raise
            _, message = unstorable(device.name, "its records cannot be released, and stay in quarantine", error)
            done.append(Released(device.name, 0, 0, len(held), message))
    return done


def _release(store: Store, device: Device, held: Sequence[QuarantinedRecord]) -> Released:
    punches = _decode(held, store.quarantine.layout_of(device.name), device.encoding)
    records, new = store.quarantine.release(device, punches)
    return Released(device.name, records, new, len(held) - records)


def _decode(held: Sequence[QuarantinedRecord], layout_name: str | None, encoding: str) -> pd.DataFrame:
    """The records that can be punches, as Reading.punches with the bytes of each."""
    frames = []
    for one in held:
        layout = _layout(len(one.raw), layout_name)
        if layout is not None:
            punches, _ = decode_log(one.raw, layout, encoding=encoding)
            frames.append(punches.assign(raw=[one.raw] * len(punches)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _layout(size: int, name: str | None) -> Layout | None:
    """The layout the terminal's log was read in last, else the only or usual one of that size."""
    fitting = [layout for layout in LOG_LAYOUTS if layout.size == size]
    return next((layout for layout in fitting if layout.name == name), next(iter(fitting), None))
