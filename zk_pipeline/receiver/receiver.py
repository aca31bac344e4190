"""Answers to pushing terminals. Uploads are stored before they are acknowledged; other requests need no store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from zk_pipeline.devices.push.commands import CommandResult, parse_info, parse_results
from zk_pipeline.devices.push.hello import (
    option_block,
    push_configuration,
    registered_block,
    registry_answer,
    time_answer,
    utc_offset,
)
from zk_pipeline.devices.push.records import ParsedUpload, UnreadableBody
from zk_pipeline.devices.push.requests import PushRequest
from zk_pipeline.devices.push.uploads import parse_counts, parse_options, parse_upload
from zk_pipeline.receiver.commands import CommandLog, confirmations, is_sent_once
from zk_pipeline.receiver.group_commit import GroupCommit, NotStored, Received
from zk_pipeline.receiver.host_clock import HostClock
from zk_pipeline.receiver.limits import RateLimit
from zk_pipeline.receiver.registry import Registry, has_access
from zk_pipeline.receiver.sessions import Session
from zk_pipeline.store.push.commands import Confirmation
from zk_pipeline.store.push.push import PushStore
from zk_pipeline.store.push.terminals import Contact, PushTerminal
from zk_pipeline.store.push.upload_writer import UploadWriter
from zk_pipeline.store.push.uploads import RESENT, PushUpload, StoredUpload

T = TypeVar("T")

# Refused with a body of no words: the answer is the same for an unknown, a pending and a spoofed serial number.
UNAVAILABLE = 503
IN_A_THREAD_ABOVE = 32 * 1024  # bytes of a body that is parsed outside the event loop
PER_TERMINAL = RateLimit(per_second=50, burst=500)
COMPLAINTS = RateLimit(per_second=1 / 600, burst=1)  # log lines per terminal and reason

_log = logging.getLogger("zk_pipeline.receiver")


@dataclass(frozen=True)
class Answer:
    """Status and text of an answer. `stored`, `lines`: of an upload, for the access log."""

    status: int
    text: str = ""
    stored: StoredUpload | None = None
    lines: int = 0


OK = Answer(200, "OK")
REFUSED = Answer(UNAVAILABLE)


@dataclass
class Receiver:
    """Handles requests of terminals on a store. `on_tick` is called every minute in the thread of the store."""

    store: PushStore
    host_clock: HostClock
    punch_events: Collection[int] | None = None
    on_tick: Callable[[], None] = lambda: None
    registry: Registry = field(default_factory=Registry)
    command_log: CommandLog = field(default_factory=CommandLog)
    refused_commands: list[tuple[str, Confirmation]] = field(default_factory=list)
    per_terminal: RateLimit = field(default_factory=lambda: replace(PER_TERMINAL))
    complaints: RateLimit = field(default_factory=lambda: replace(COMPLAINTS))
    commits: GroupCommit = field(init=False)
    _writer: UploadWriter = field(init=False)
    _store_thread: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._writer = self.store.writer()
        self.commits = GroupCommit(
            self._writer.store, self._in_thread, must_close=self._writer.must_close, close=self._writer.close
        )

    async def in_store_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread that alone uses the store, which the uploads may have left open."""

        def run() -> T:
            self._writer.close()
            return work()

        return await self._in_thread(run)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, work)

    def close(self) -> None:
        """Wait for the work of the store's thread, close the store and end the thread."""
        self._store_thread.submit(self._writer.close)
        self._store_thread.shutdown()

    def admit(self, request: PushRequest, address: str) -> tuple[PushTerminal, Session] | None:
        """The terminal of a request and its session; None for one that is not adopted or sends too much."""
        now = self.store.clock()
        terminal = self.registry.terminal(request.serial)
        if terminal is None or terminal.device is None:
            self.registry.note_pending(request, address, now)
            return None
        if not self._may_send(terminal, request, address):
            return None
        return terminal, self.registry.session(terminal, request, address, now)

    def _may_send(self, terminal: PushTerminal, request: PushRequest, address: str) -> bool:
        """True if the request of an adopted terminal is answered.

        A wrong secret or a foreign network says nothing about the terminal, so that its contact is not noted then.
        """
        name = f"terminal {terminal.serial_number}"
        if not has_access(terminal, request.secret, address):
            self.complain(name, "is refused: wrong path secret, or an address outside its networks", address)
            return False
        if not terminal.enabled:
            self.registry.contacts.note(
                Contact(serial_number=request.serial, address=address, seen_at=self.store.clock())
            )
            return False
        if not self.per_terminal.allows(request.serial):
            self.complain(name, "sends too many requests")
            return False
        return True

    async def answer(self, request: PushRequest, terminal: PushTerminal, session: Session, body: bytes) -> Answer:
        """The answer to a request of an adopted terminal."""
        if request.kind in ("upload", "querydata"):
            return await self._upload(request, terminal, session, body)
        if request.kind == "getrequest":
            return await self._commands(request, terminal, session)
        if request.kind == "devicecmd":
            return await self._results(terminal, session, parse_results(body))
        if request.kind == "options":
            self._note(terminal, session, firmware_version=parse_options(body).get("fwversion"))
            return OK
        return self._plain(request, terminal, session)

    def complain(self, subject: str, problem: str, detail: object = None) -> None:
        """Log a problem, at most every ten minutes; `detail` may differ each time."""
        if self.complaints.allows(f"{subject} {problem}"):
            _log.warning("%s %s%s", subject, problem, "" if detail is None else f": {detail}")

    def _plain(self, request: PushRequest, terminal: PushTerminal, session: Session) -> Answer:
        """Answers without a body to read and without the store."""
        serial = terminal.serial_number
        match request.kind:
            case "hello":
                text = self._hello(request, terminal, session)
            case "time":
                self._note_clock_answer(terminal, session)
                text = time_answer(request.endpoint, zone=_zone(terminal), at=self.store.clock())
            case "registry":
                text = registry_answer(serial, _code_secret(terminal))
            case "push_config":
                text = push_configuration(serial, _code_secret(terminal))
            case "ping" | "photo" | "remote_att":
                text = "OK"
            case "online_decision":
                self.complain(
                    f"terminal {serial}", "asks for decisions about verifications: switch its server mode off"
                )
                text = "AUTH=Failed" if "authtype" in request.parameters else "OK"
            case _:  # key exchange, whose algorithm is unpublished, and files
                self.complain(f"terminal {serial}", f"requests {request.kind}, which is not supported")
                return Answer(404)
        return Answer(200, text)

    def _hello(self, request: PushRequest, terminal: PushTerminal, session: Session) -> str:
        self._note_clock_answer(terminal, session, push_version=request.parameters.get("pushver"))
        serial = terminal.serial_number
        if session.family == "C":
            return registered_block(serial, _code_secret(terminal)) if session.is_registered else "OK"
        return option_block(
            serial,
            session.family,
            stamps=self.registry.stamps(serial),
            zone=_zone(terminal),
            at=self.store.clock(),
            timezone_form=terminal.timezone_form,
        )

    def _note_clock_answer(self, terminal: PushTerminal, session: Session, *, push_version: str | None = None) -> None:
        now = self.store.clock()
        session.offset_seconds = int(utc_offset(_zone(terminal), now).total_seconds())
        self._note(
            terminal, session, hello_at=now, hello_offset_seconds=session.offset_seconds, push_version=push_version
        )

    def _note(self, terminal: PushTerminal, session: Session, **facts: datetime | int | str | None) -> None:
        """Note facts about a terminal, to be recorded with its next contacts."""
        address = self.registry.contacts.address_of(terminal.serial_number) or terminal.address
        self.registry.contacts.note(
            Contact(serial_number=terminal.serial_number, address=address, seen_at=session.seen_at, **facts)  # type: ignore[arg-type]
        )

    async def _upload(self, request: PushRequest, terminal: PushTerminal, session: Session, body: bytes) -> Answer:
        if request.kind == "querydata" and request.table == "COUNT":
            return await self._count(request, terminal, body)
        try:
            parsed = await self._parsed(request, terminal, body)
        except UnreadableBody as error:
            self.note_refusal(terminal, session, str(error))
            return REFUSED
        now = self.store.clock()
        stamp = RESENT if request.kind == "querydata" else request.stamp
        if parsed.dropped == parsed.lines and stamp in (None, RESENT):
            return Answer(200, parsed.acknowledged, lines=parsed.lines)  # nothing of it is stored
        table = str(request.table)
        drift = session.measure_drift(table, stamp, parsed, zone=_zone(terminal), now=now)
        upload = PushUpload(
            serial_number=terminal.serial_number,
            device=str(terminal.device),
            timezone=_zone(terminal),
            table_name=table,
            stamp=stamp,
            parsed=parsed,
            received_at=now,
            drift_seconds=drift,
        )
        try:
            stored = await self.commits.submit(Received(upload, body))
        except NotStored as error:
            self.complain("the store", "takes no uploads, which are not acknowledged", error)
            stored = None
        if stored is None:
            session.interrupt(self.store.clock())
            return REFUSED
        session.record_drift(drift, now)
        self.registry.note_stored(upload)
        return Answer(200, parsed.acknowledged, stored, parsed.lines)

    def note_refusal(self, terminal: PushTerminal, session: Session, why: str) -> None:
        """Note an upload that cannot be received, for the log and the alert `refused:NAME`."""
        self.complain(f"terminal {terminal.serial_number}", "uploads what cannot be received", why)
        now = self.store.clock()
        session.interrupt(now)
        self._note(terminal, session, refused_at=now, refusal=why)

    async def _parsed(self, request: PushRequest, terminal: PushTerminal, body: bytes) -> ParsedUpload:
        def parse() -> ParsedUpload:
            return parse_upload(
                str(request.table),
                body,
                encoding=terminal.encoding or "UTF-8",
                punch_events=self.punch_events,
                parameters=request.parameters,
            )

        return await asyncio.to_thread(parse) if len(body) > IN_A_THREAD_ABOVE else parse()

    async def _count(self, request: PushRequest, terminal: PushTerminal, body: bytes) -> Answer:
        """The answer of a terminal of family C to a `count_punches` command."""
        count = parse_counts(body).get("transaction")
        if count is None:
            return OK
        result = CommandResult(request.parameters.get("cmdid", ""), 0, "", {"attlogcount": str(count)})
        return await self._confirm(terminal, "C", [result])

    async def _commands(self, request: PushRequest, terminal: PushTerminal, session: Session) -> Answer:
        if info := request.parameters.get("info"):
            self._note_counters(terminal, session, info)
        commands = self.registry.commands(terminal.serial_number)
        if not commands:
            return OK
        now = self.store.clock()
        answer = self.command_log.answer(commands, session.family, zone=_zone(terminal), now=now)
        self.registry.note_ended([one for one in commands if one.id in {done.command_id for done in answer.refused}])
        self.refused_commands += [(terminal.serial_number, one) for one in answer.refused]
        ids = [one.id for one in answer.sent]
        must_record = any(map(is_sent_once, answer.sent))
        if must_record:
            await self.in_store_thread(lambda: self.store.record_sent(ids))
        self.command_log.note_sent(ids, now, is_recorded=must_record)
        if any(one.command.kind == "set_clock" for one in answer.sent):
            self._note_clock_answer(terminal, session)
        return Answer(200, answer.text)

    def _note_counters(self, terminal: PushTerminal, session: Session, info: str) -> None:
        counters = parse_info(info)
        self._note(
            terminal,
            session,
            firmware_version=counters.firmware_version,
            user_count=counters.users,
            record_count=counters.records,
            info_at=self.store.clock(),
        )

    async def _results(self, terminal: PushTerminal, session: Session, results: Sequence[CommandResult]) -> Answer:
        for one in results:
            if version := one.values.get("fwversion"):
                self._note(terminal, session, firmware_version=version)
        return await self._confirm(terminal, session.family, results)

    async def _confirm(self, terminal: PushTerminal, family: str, results: Sequence[CommandResult]) -> Answer:
        """Record the results before they are acknowledged: the terminal reports each of them once."""
        serial = terminal.serial_number
        open_commands = {one.id: one for one in self.registry.commands(serial)}
        confirmed = confirmations(results, open_commands, "C" if family == "C" else "A")
        if not confirmed:
            return OK
        await self.in_store_thread(lambda: self.store.confirm(serial, confirmed))
        self.registry.note_ended([open_commands[one.command_id] for one in confirmed])
        return OK


def _zone(terminal: PushTerminal) -> str:
    return terminal.timezone or "UTC"


def _code_secret(terminal: PushTerminal) -> bytes:
    """Key of the codes of family C. It only has to be stable: the receiver accepts no code as a credential."""
    return f"{terminal.serial_number} {terminal.first_seen_at.isoformat()}".encode()
