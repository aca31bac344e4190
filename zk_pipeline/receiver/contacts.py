"""Contacts of terminals, collected in memory until they are recorded in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from zk_pipeline.receiver.limits import RateLimit
from zk_pipeline.store.push.terminals import Contact

# A flood of invented serial numbers must not evict pending terminals from the store, which keeps the 1000 seen last:
# a terminal that waits asks again within minutes.
MAX_NEW_PER_RECORD = 20
NEW_PER_ADDRESS = RateLimit(per_second=1 / 60, burst=20)


@dataclass
class ContactBook:
    """Contacts since the last record, one per serial number."""

    new_per_address: RateLimit = field(default_factory=lambda: replace(NEW_PER_ADDRESS))
    _contacts: dict[str, Contact] = field(default_factory=dict)
    _new: set[str] = field(default_factory=set)

    @property
    def has_new(self) -> bool:
        """True if a terminal is among them that the store does not know."""
        return bool(self._new)

    def address_of(self, serial: str) -> str | None:
        """The address of the latest contact; None if the terminal has none since the last record."""
        contact = self._contacts.get(serial)
        return None if contact is None else contact.address

    def note(self, contact: Contact) -> None:
        """Note a contact of a terminal that the store knows; later facts replace earlier ones."""
        known = self._contacts.get(contact.serial_number)
        self._contacts[contact.serial_number] = contact if known is None else _merged(known, contact)

    def note_new(self, contact: Contact) -> bool:
        """Note a contact of an unknown terminal; False if there are too many, and it is left out."""
        if contact.serial_number not in self._new:
            if len(self._new) >= MAX_NEW_PER_RECORD or not self.new_per_address.allows(contact.address):
                return False
            self._new.add(contact.serial_number)
        self.note(contact)
        return True

    def take(self) -> list[Contact]:
        """All contacts; the book is empty afterwards."""
        contacts = list(self._contacts.values())
        self._contacts, self._new = {}, set()
        return contacts

    def put_back(self, contacts: Sequence[Contact]) -> None:
        """Return contacts that could not be recorded."""
        later = self._contacts
        self._contacts = {one.serial_number: one for one in contacts}
        for one in later.values():
            self.note(one)


_LEARNED = [one.name for one in fields(Contact) if one.name not in ("serial_number", "address", "seen_at")]


def _merged(earlier: Contact, later: Contact) -> Contact:
    kept: dict[str, Any] = {name: getattr(earlier, name) for name in _LEARNED if getattr(later, name) is None}
    return replace(later, **kept)
