"""Repository of terminals that push: what the receiver, the CLI, the API and the pages read and write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from zk_pipeline.devices.models import Device
from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.push.batches import PushContact, UploadSummary, newest_upload, read_contacts, summarize_uploads
from zk_pipeline.store.push.check_plan import PushCheck
from zk_pipeline.store.push.checks import Step, apply_steps, plan_steps, read_checks
from zk_pipeline.store.push.commands import (
    Confirmation,
    QueuedCommand,
    command_of,
    commands_of,
    commands_of_device,
    expire_commands,
    open_commands,
    queue_command,
    record_confirmations,
    record_sent,
)
from zk_pipeline.store.push.details import PushDetails, TerminalEvent, read_details, read_events
from zk_pipeline.store.push.terminals import Contact, PushTerminal, adopt, not_pushing, read_terminals, record_contacts
from zk_pipeline.store.push.upload_writer import UploadWriter
from zk_pipeline.store.push.uploads import read_stamps
from zk_pipeline.store.terminals.devices import DeviceRegistry
from zk_pipeline.store.terminals.punch_versions import punch_versions


@dataclass(frozen=True)
class ReceiverState:
    """State of the store that the receiver keeps in memory, read in one transaction."""

    terminals: dict[str, PushTerminal]
    stamps: dict[str, dict[str, str]]
    commands: dict[str, list[QueuedCommand]]


@dataclass(frozen=True)
class NewUploads:
    """Uploads since a number, by device; `newest`: the number of the newest upload. `versions`: as `punch_versions`, of
    the devices in `summaries` and `contacts`.
    """

    newest: int
    summaries: list[UploadSummary]
    contacts: list[PushContact]
    versions: dict[str, str]


@dataclass(frozen=True)
class PushStore:
    database: Database
    clock: Callable[[], datetime]

    def terminals(self) -> list[PushTerminal]:
        """All terminals that ever connected, by serial number; pending ones have no device."""
        with self.database.read("terminals that push") as connection:
            return read_terminals(connection)

    def pending(self) -> list[PushTerminal]:
        """Terminals that wait for adoption, by serial number."""
        return [one for one in self.terminals() if one.device is None]

    def details(self, device: str, timezone: str) -> PushDetails | None:
        """Details of the terminal that pushes for a device, with its latest uploads by date in `timezone`."""
        with self.database.read("details of a terminal that pushes", device) as connection:
            return read_details(connection, device, timezone)

    def events(self, device: str, first: date | None, last: date | None, *, limit: int) -> list[TerminalEvent]:
        """Events of a device on these dates of its wall clock, both included; None: without limit. Newest first."""
        with self.database.read("events of a terminal", device) as connection:
            return read_events(connection, device, first, last, limit)

    def state(self) -> ReceiverState:
        """Terminals, stamps and open commands, by serial number."""
        with self.database.read("state of the receiver") as connection:
            commands: dict[str, list[QueuedCommand]] = {}
            for one in open_commands(connection):
                commands.setdefault(one.serial_number, []).append(one)
            terminals = {one.serial_number: one for one in read_terminals(connection)}
            return ReceiverState(terminals, read_stamps(connection), commands)

    def adopt(
        self,
        serial: str,
        name: str,
        *,
        timezone: str | None,
        default_timezone: str,
        site: str | None,
        by: str,
        secret_hash: str | None = None,
    ) -> Device:
        """Accept the uploads of a pending terminal as those of the device `name`, registered or new.

        A terminal that polls read, and the one that pushes, are the same device if their serial numbers are.
        Raises UnknownTerminal, TerminalAdopted.
        """
        with self.database.write("adopt a terminal", name) as connection:
            adopt(
                connection,
                serial,
                name,
                timezone=timezone,
                default_timezone=default_timezone,
                site=site,
                secret_hash=secret_hash,
                by=by,
                now=self.clock(),
            )
        return DeviceRegistry(self.database, self.clock).get(name)

    def protect(self, device: str, **changes: str | None) -> None:
        """Change `secret_hash`, `networks` or `timezone_form` of a device that pushes. Raises UsageError."""
        assert changes.keys() <= {"secret_hash", "networks", "timezone_form"}
        assignments = ", ".join(f"{name} = ${name}" for name in changes)
        with self.database.write("change a terminal that pushes", device) as connection:
            if all(one.device != device for one in read_terminals(connection)):
                raise not_pushing(device)
            connection.execute(
                f"UPDATE push_terminals SET {assignments} WHERE device = $device",  # noqa: S608 (constant names)
                {**changes, "device": device},
            )

    def record_contacts(self, contacts: Sequence[Contact]) -> None:
        """Record contacts, at most one per serial number."""
        if contacts:
            with self.database.write("record contacts of terminals") as connection:
                record_contacts(connection, contacts)

    def writer(self) -> UploadWriter:
        """A writer of uploads for one thread that keeps the store open between them. It opens it at the first."""
        return UploadWriter(self.database, self.clock)

    def queue(self, serial: str, command: PushCommand, *, by: str) -> int:
        """Queue a command for a terminal; returns its id, or that of the same command if it is still open."""
        with self.database.write("queue a command", serial) as connection:
            return queue_command(connection, serial, command, by=by, now=self.clock())

    def commands(self, serial: str, limit: int = 50) -> list[QueuedCommand]:
        """The newest commands of a terminal, newest first."""
        with self.database.read("commands of a terminal", serial) as connection:
            return commands_of(connection, serial, limit)

    def commands_of_device(self, device: str) -> list[QueuedCommand]:
        """The newest commands of the terminal that pushes for a device, newest first; none if it does not push."""
        with self.database.read("commands of a device", device) as connection:
            return commands_of_device(connection, device, 50)

    def command(self, number: int) -> QueuedCommand:
        """The command with this id."""
        with self.database.read("read a command") as connection:
            return command_of(connection, number)

    def record_sent(self, ids: Collection[int]) -> None:
        """Record that commands were sent to their terminals."""
        with self.database.write("record sent commands") as connection:
            record_sent(connection, ids, self.clock())

    def expire_commands(self, unconfirmed_for: timedelta) -> list[QueuedCommand]:
        """End the commands that were sent as often as allowed and never confirmed; returns them."""
        now = self.clock()
        with self.database.write("expire commands") as connection:
            return expire_commands(connection, sent_before=now - unconfirmed_for, now=now)

    def confirm(self, serial: str, confirmations: Sequence[Confirmation]) -> list[QueuedCommand]:
        """End the commands of a terminal that it confirmed; returns them."""
        with self.database.write("confirm commands", serial) as connection:
            return record_confirmations(connection, serial, confirmations, self.clock())

    def reconcile(self, *, begin: bool) -> list[Step]:
        """Compare the punches of pushing terminals with the store, one step further; returns the changes.

        Continues checks whose commands have ended, and with `begin` begins those that are due. Only a read if nothing
        changes.
        """
        now = self.clock()
        with self.database.read("checks of pushed punches") as connection:
            if not plan_steps(connection, now, begin=begin):
                return []
        with self.database.write("check pushed punches") as connection:
            steps = plan_steps(connection, now, begin=begin)
            if steps:
                apply_steps(connection, steps, now)
        return steps

    def checks(self, serial: str, limit: int = 50) -> list[PushCheck]:
        """The checks of a terminal, those that changed last first."""
        with self.database.read("checks of a terminal", serial) as connection:
            return read_checks(connection, serial, limit)

    def new_uploads(self, after: int, *, after_by_device: Mapping[str, int]) -> NewUploads:
        """Uploads with numbers above `after` and above that of their device."""
        with self.database.read("new uploads") as connection:
            newest, contacts = newest_upload(connection), read_contacts(connection)
            summaries = summarize_uploads(connection, after, until=newest, after_by_device=after_by_device)
            names = sorted({one.device for one in summaries} | {one.device for one in contacts})
            return NewUploads(newest, summaries, contacts, punch_versions(connection, names))
