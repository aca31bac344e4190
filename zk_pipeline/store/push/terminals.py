"""Terminals that connect to the receiver: pending ones, adoption as a device, and their contacts."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache

from zk_pipeline.data_libraries import pa
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.push.families import Family
from zk_pipeline.devices.push.hello import TimeZoneForm
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.errors import TerminalAdopted, UnknownTerminal
from zk_pipeline.store.terminals.devices import insert_device, registered_or_none, release_push, update_device

PENDING_FOR = timedelta(days=7)  # since the last contact: a terminal asks again within minutes
MAX_PENDING = 1000  # a serial number is 32 characters that anyone can send


@dataclass(frozen=True, kw_only=True)
class PushTerminal:
    """A row of `push_terminals`, with the zone, encoding and state of its device.

    `device` is None while the terminal is pending; `registered_as`: a device with this serial number that polls read.
    """

    serial_number: str
    device: str | None
    family: Family | None
    address: str
    first_seen_at: datetime
    last_seen_at: datetime
    adopted_at: datetime | None
    adopted_by: str | None
    hello_at: datetime | None
    hello_offset_seconds: int | None
    push_version: str | None
    firmware_version: str | None
    user_count: int | None
    record_count: int | None
    info_at: datetime | None
    secret_hash: str | None
    networks: str | None
    timezone_form: TimeZoneForm | None
    timezone: str | None
    encoding: str | None
    enabled: bool
    registered_as: str | None


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Facts that the receiver learned from a terminal since the last record; None: nothing new."""

    serial_number: str
    address: str
    seen_at: datetime
    family: Family | None = None
    hello_at: datetime | None = None
    hello_offset_seconds: int | None = None
    push_version: str | None = None
    firmware_version: str | None = None
    user_count: int | None = None
    record_count: int | None = None
    info_at: datetime | None = None
    refused_at: datetime | None = None
    refusal: str | None = None


def read_terminals(connection: Connection) -> list[PushTerminal]:
    """All terminals by serial number."""
    rows = connection.execute(_SELECT).fetchall()
    return [PushTerminal(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def record_contacts(connection: Connection, contacts: Sequence[Contact]) -> None:
    """Record contacts, at most one per serial number.

    Of the pending terminals those seen within PENDING_FOR are kept, and at most MAX_PENDING, the ones seen last.
    """
    connection.register("contacts", pa.Table.from_pylist([asdict(one) for one in contacts], _CONTACTS()))
    # The address of a device that only pushes follows its contacts, unless an operator has set another one.
    connection.execute(
        """
        UPDATE devices SET
            last_sync = contacts.seen_at,
            ip_address = CASE WHEN contacts.address <> '' AND devices.ip_address = terminal.address
                              THEN contacts.address ELSE devices.ip_address END
        FROM contacts JOIN push_terminals AS terminal USING (serial_number)
        WHERE devices.name = terminal.device AND NOT devices.polled
        """
    )
    learned = ", ".join(f"{name} = coalesce(contacts.{name}, push_terminals.{name})" for name in _LEARNED)
    connection.execute(
        f"""
        UPDATE push_terminals SET address = contacts.address, last_seen_at = contacts.seen_at, {learned}
        FROM contacts WHERE contacts.serial_number = push_terminals.serial_number
        """  # noqa: S608 (constant names)
    )
    connection.execute(
        f"""
        INSERT INTO push_terminals (serial_number, address, first_seen_at, last_seen_at, {", ".join(_LEARNED)})
        SELECT serial_number, address, seen_at, seen_at, {", ".join(_LEARNED)}
        FROM contacts ANTI JOIN push_terminals USING (serial_number)
        """  # noqa: S608 (constant names)
    )
    connection.execute(
        """
        DELETE FROM push_terminals WHERE device IS NULL AND (
            last_seen_at < $oldest
            OR serial_number IN (
                SELECT serial_number FROM push_terminals WHERE device IS NULL
                ORDER BY last_seen_at DESC, serial_number OFFSET $most
            )
        )
        """,
        {"oldest": max(one.seen_at for one in contacts) - PENDING_FOR, "most": MAX_PENDING},
    )
    connection.unregister("contacts")


def adopt(
    connection: Connection,
    serial: str,
    name: str,
    *,
    timezone: str | None,
    default_timezone: str,
    site: str | None,
    secret_hash: str | None,
    by: str,
    now: datetime,
) -> None:
    """Accept the uploads of a pending terminal as those of the device `name`, which is registered if it is new.

    `secret_hash`: of its path secret, None for none; other limits of an earlier adoption end. Raises UnknownTerminal
    for a serial number that never connected, TerminalAdopted if it belongs to another device or the device to another
    terminal.
    """
    terminal = _pending(connection, serial)
    device = registered_or_none(connection, name)
    holder = connection.execute(
        "SELECT name FROM devices WHERE serial_number = ? AND removed_at IS NULL ORDER BY id", [serial]
    ).fetchone()
    if holder is not None and holder[0] != name:
        raise TerminalAdopted(
            f"the terminal with serial number {serial} is registered as {holder[0]!r}: adopt it under that name, "
            f"`zk-pipeline device adopt {serial} --name {shlex.quote(holder[0])}`"
        )
    if device is not None and device.serial_number not in (None, "", serial):
        raise TerminalAdopted(
            f"device {name!r} is the terminal with serial number {device.serial_number}: choose another name, or run "
            f"`zk-pipeline device update {shlex.quote(name)} --accept-new-serial` first if {serial} replaces it"
        )
    changes = {"timezone": timezone, "site": site}
    if device is None:
        removed = connection.execute("SELECT timezone, site FROM devices WHERE name = ?", [name]).fetchone()
        former_timezone, former_site = removed or (default_timezone, "")
        made = Device(
            name=name,
            ip_address=terminal.address,
            polled=False,
            timezone=timezone or former_timezone,
            site=site or former_site,
        )
        insert_device(connection, made, now)
    elif any(value is not None for value in changes.values()):
        update_device(connection, device, {name: value for name, value in changes.items() if value is not None}, now)
    connection.execute("UPDATE devices SET serial_number = ? WHERE name = ?", [serial, name])
    release_push(connection, name, now)
    connection.execute(
        """
        UPDATE push_terminals
        SET device = ?, adopted_at = ?, adopted_by = ?, secret_hash = ?, networks = NULL, timezone_form = NULL,
            family = NULL
        WHERE serial_number = ?
        """,
        [name, now, by, secret_hash, serial],
    )


def not_pushing(device: str) -> UsageError:
    """Error of a request that only a device that pushes can have."""
    return UsageError(f"device {device!r} does not push: `zk-pipeline device pending` lists terminals to adopt")


def secret_digest(secret: str) -> str:
    """SHA-256 of a path secret, as stored: the secret is random, so one round suffices."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _pending(connection: Connection, serial: str) -> PushTerminal:
    terminals = {one.serial_number: one for one in read_terminals(connection)}
    found = terminals.get(serial)
    if found is None:
        raise UnknownTerminal(
            f"no terminal with serial number {serial!r} has connected to the receiver; "
            "`zk-pipeline device pending` lists those that have"
        )
    if found.device is not None:
        raise TerminalAdopted(f"the terminal with serial number {serial} is adopted already, as {found.device!r}")
    return found


_LEARNED = (
    "family", "hello_at", "hello_offset_seconds", "push_version", "firmware_version", "user_count", "record_count",
    "info_at", "refused_at", "refusal",
)  # fmt: skip
_CONTACTS = cache(
    lambda: pa.schema(
        {
            "serial_number": pa.string(),
            "address": pa.string(),
            "seen_at": pa.timestamp("us", "UTC"),
            "family": pa.string(),
            "hello_at": pa.timestamp("us", "UTC"),
            "hello_offset_seconds": pa.int32(),
            "push_version": pa.string(),
            "firmware_version": pa.string(),
            "user_count": pa.int32(),
            "record_count": pa.int32(),
            "info_at": pa.timestamp("us", "UTC"),
            "refused_at": pa.timestamp("us", "UTC"),
            "refusal": pa.string(),
        }
    )
)
_COLUMNS = tuple(PushTerminal.__dataclass_fields__)
_SELECT = f"""
    SELECT {", ".join(f"terminal.{name}" for name in _COLUMNS[:-4])}, device.timezone, device.encoding,
           coalesce(device.enabled, false), polled.name
    FROM push_terminals AS terminal
    LEFT JOIN devices AS device ON device.name = terminal.device AND device.removed_at IS NULL
    LEFT JOIN (
        SELECT serial_number, min(name) AS name FROM devices WHERE removed_at IS NULL GROUP BY serial_number
    ) AS polled ON polled.serial_number = terminal.serial_number
    ORDER BY terminal.serial_number
"""  # noqa: S608 (constant names)
