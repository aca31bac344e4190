"""Commands that terminals ask for: which are due, and which were sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from zk_pipeline.devices.push.commands import CommandRefused, CommandResult, attlog_count, command_text, pack_commands
from zk_pipeline.devices.push.families import Family
from zk_pipeline.store.push.commands import MAX_SENDS, SENT_ONCE, Confirmation, QueuedCommand

RESEND_AFTER = timedelta(seconds=60)
NOT_SUPPORTED = -1002  # as terminals report it
MAX_RESULT_LENGTH = 500


@dataclass(frozen=True)
class CommandAnswer:
    """Body of an answer to getrequest and its commands; `refused`: those that the terminal's family does not have."""

    text: str
    sent: list[QueuedCommand]
    refused: list[Confirmation]


@dataclass
class CommandLog:
    """Commands that this process has sent, and those of them that the store does not know to be sent."""

    _sent_at: dict[int, datetime] = field(default_factory=dict)
    _unrecorded: list[int] = field(default_factory=list)

    def answer(self, commands: Sequence[QueuedCommand], family: Family, *, zone: str, now: datetime) -> CommandAnswer:
        """The answer with the due commands of one terminal, oldest first."""
        texts, refused = [], []
        due = [one for one in commands if self._is_due(one, now)]
        for one in due:
            try:
                texts.append((one.id, command_text(one.command, family, zone=zone, at=now)))
            except CommandRefused as error:
                refused.append(Confirmation(one.id, False, NOT_SUPPORTED, str(error)))
        text, ids = pack_commands(texts)
        return CommandAnswer(text, [one for one in due if one.id in ids], refused)

    def note_sent(self, ids: Iterable[int], now: datetime, *, is_recorded: bool) -> None:
        """Note that commands are being sent."""
        for number in ids:
            self._sent_at[number] = now
            if not is_recorded:
                self._unrecorded.append(number)

    def take_unrecorded(self) -> list[int]:
        """Commands whose sending must be recorded; the list is empty afterwards."""
        taken, self._unrecorded = self._unrecorded, []
        return taken

    def put_back(self, ids: Collection[int]) -> None:
        self._unrecorded = [*ids, *self._unrecorded]

    def keep_only(self, open_ids: Collection[int]) -> None:
        """Forget commands that are no longer open."""
        self._sent_at = {number: at for number, at in self._sent_at.items() if number in open_ids}

    def _is_due(self, one: QueuedCommand, now: datetime) -> bool:
        sent_at = self._sent_at.get(one.id, one.sent_at)
        if sent_at is None:
            return True
        is_repeatable = one.command.kind not in SENT_ONCE and one.times_sent < MAX_SENDS
        return is_repeatable and now - sent_at >= RESEND_AFTER


def is_sent_once(one: QueuedCommand) -> bool:
    """True for a command that must be recorded as sent before it is sent, because a repetition would harm."""
    return one.command.kind in SENT_ONCE


def confirmations(
    results: Sequence[CommandResult], open_commands: Mapping[int, QueuedCommand], family: Family
) -> list[Confirmation]:
    """Confirmations of open commands by the results that a terminal reports; other results are left out."""
    found = []
    for one in results:
        number = int(one.command_id) if one.command_id.isdecimal() and len(one.command_id) < 19 else None
        if number is not None and number in open_commands:
            is_done = one.return_code >= 0 if family == "C" else one.return_code == 0
            found.append(Confirmation(number, is_done, one.return_code, _result_text(one)))
    return found


def _result_text(result: CommandResult) -> str | None:
    """The count of a `count_punches` command, else the command and values that the terminal reports."""
    count = attlog_count(result)
    if count is not None:
        return str(count)
    text = " ".join([result.command, *(f"{key}={value}" for key, value in result.values.items())]).strip()
    return text[:MAX_RESULT_LENGTH] or None
