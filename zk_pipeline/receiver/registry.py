"""In-memory view of the terminals, their stamps and open commands, so that a request needs no access to the store."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from zk_pipeline.devices.push.families import family_of, observe
from zk_pipeline.devices.push.requests import PushRequest
from zk_pipeline.receiver.contacts import ContactBook
from zk_pipeline.receiver.sessions import Session
from zk_pipeline.store.push.commands import QueuedCommand
from zk_pipeline.store.push.push import ReceiverState
from zk_pipeline.store.push.terminals import Contact, PushTerminal, secret_digest
from zk_pipeline.store.push.uploads import RESENT, PushUpload

_log = logging.getLogger("zk_pipeline.receiver")


@dataclass
class Registry:
    """Terminals by serial number. `state` is None until it was read for the first time."""

    state: ReceiverState | None = None
    contacts: ContactBook = field(default_factory=ContactBook)
    sessions: dict[str, Session] = field(default_factory=dict)

    def replace(self, state: ReceiverState) -> None:
        """Take a newer state of the store."""
        self.state = state
        adopted = {serial for serial, terminal in state.terminals.items() if terminal.device is not None}
        self.sessions = {serial: session for serial, session in self.sessions.items() if serial in adopted}

    def terminal(self, serial: str) -> PushTerminal | None:
        """The terminal that the store knows, adopted or pending."""
        return None if self.state is None else self.state.terminals.get(serial)

    def session(self, terminal: PushTerminal, request: PushRequest, address: str, now: datetime) -> Session:
        """The session of an adopted terminal, with this request and its contact noted."""
        session = self.sessions.get(terminal.serial_number)
        if session is None:
            session = self.sessions[terminal.serial_number] = Session.of(terminal, now)
        session.observe(request, now)
        family = session.family if session.family != terminal.family else None
        self.contacts.note(Contact(serial_number=terminal.serial_number, address=address, seen_at=now, family=family))
        return session

    def adopted(self) -> list[PushTerminal]:
        """Terminals whose uploads are accepted."""
        terminals = {} if self.state is None else self.state.terminals
        return [one for one in terminals.values() if one.device is not None and one.enabled]

    def stamps(self, serial: str) -> dict[str, str]:
        """Saved stamp by table."""
        return {} if self.state is None else self.state.stamps.get(serial, {})

    def commands(self, serial: str) -> Sequence[QueuedCommand]:
        """Open commands, oldest first."""
        return () if self.state is None else self.state.commands.get(serial, ())

    def note_stored(self, upload: PushUpload) -> None:
        """Note the stamp of a stored upload, before the next state is read."""
        if self.state is not None and upload.stamp not in (None, RESENT):
            self.state.stamps.setdefault(upload.serial_number, {})[upload.table_name] = str(upload.stamp)

    def note_ended(self, commands: Sequence[QueuedCommand]) -> None:
        """Note that commands are no longer open."""
        ended = {one.id for one in commands}
        for serial in {one.serial_number for one in commands}:
            if self.state is not None:
                self.state.commands[serial] = [one for one in self.commands(serial) if one.id not in ended]

    def note_pending(self, request: PushRequest, address: str, now: datetime) -> None:
        """Note the contact of a terminal that is not adopted."""
        observations = observe(request)
        contact = Contact(
            serial_number=request.serial,
            address=address,
            seen_at=now,
            family=family_of(observations) if observations else None,
            push_version=request.parameters.get("pushver"),
        )
        if self.terminal(request.serial) is not None:
            self.contacts.note(contact)
        elif self.contacts.note_new(contact):
            _log.info("unknown terminal %s at %s waits for `zk-pipeline device adopt`", request.serial, address)


def has_access(terminal: PushTerminal, secret: str | None, address: str) -> bool:
    """True if the path secret and the source address are those of the terminal."""
    is_secret_right = terminal.secret_hash is None or hmac.compare_digest(
        secret_digest(secret or ""), terminal.secret_hash
    )
    return is_secret_right and (terminal.networks is None or is_within(address, terminal.networks))


@lru_cache(maxsize=4096)
def is_within(address: str, networks: str) -> bool:
    """True for an address in one of the networks, which commas separate. False for a text that is no address."""
    try:
        found = ipaddress.ip_address(address)
        allowed = [ipaddress.ip_network(one.strip()) for one in networks.split(",")]
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in one for one in allowed)
