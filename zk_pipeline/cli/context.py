"""Context of one command: settings, store, terminals and run launcher; parameter types that commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from zk_pipeline.cli.output import ZONE
from zk_pipeline.config.home import export_home, find_home
from zk_pipeline.config.settings import Settings, in_file, load_settings, parse_settings, read_env_file
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.home_users import describe_process, is_registered, older_users, registered
from zk_pipeline.runtime.supervisor import home_lock_holder
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.schema.migrations_runner import newest_version
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.device_names import device_names, site_names

if TYPE_CHECKING:
    from zk_pipeline.devices.gateway import TerminalGateway
    from zk_pipeline.runs.launcher import Launcher


@dataclass(frozen=True)
class CliContext:
    """Settings of one invocation, and the store and terminals that they name."""

    settings: Settings

    @property
    def store(self) -> Store:
        return Store.at(self.settings.store)

    @property
    def terminals(self) -> TerminalGateway:
        from zk_pipeline.operations.terminal_gateway import terminal_gateway  # noqa: PLC0415 (pandas, slow to import)

        return terminal_gateway(self.settings)

    @contextmanager
    def launcher(self) -> Iterator[Launcher]:
        from zk_pipeline.runs.launcher import open_launcher  # noqa: PLC0415 (Dagster, slow to import)

        with open_launcher(self.settings) as launcher:
            yield launcher


def open_context() -> CliContext:
    """Check the settings and export the home to the environment; tables print instants in the zone of the settings.
    Registers this process as a user of the home until the command ends.

    Raises UsageError, also if the store must be upgraded while a process of an older version uses the home.
    """
    settings = load_settings()
    click.get_current_context().meta[ZONE] = settings.timezone
    export_home(settings.home, os.environ)
    context = CliContext(settings)
    _refuse_upgrade_in_use(context)
    click.get_current_context().with_resource(registered(settings.home, newest_version()))
    return context


def _refuse_upgrade_in_use(context: CliContext) -> None:
    """Raises UsageError if the first use of the store would upgrade it under running processes of an older version."""
    home = context.settings.home
    users = older_users(home, newest_version())
    holder = home_lock_holder(home)
    if not users and holder is not None and not is_registered(home, newest_version(), holder):
        users = [describe_process(holder)]  # `zk-pipeline up` of a version that did not register
    if users and context.store.database.needs_upgrade():
        raise UsageError(
            f"{home} is in use by an older zk_pipeline, under which this version does not upgrade the store: end "
            f"{' and '.join(users)}, then try again"
        )


class WorkDate(click.ParamType):  # type: ignore[type-arg]
    """A calendar date as YYYY-MM-DD."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007 (a date has no zone)
        except ValueError:
            self.fail(f"{value!r} is not a date such as 2026-11-22", param, ctx)


@dataclass(frozen=True)
class StoredName(click.ParamType):  # type: ignore[type-arg]
    """A name that the shell completes from the store, with the query `names`."""

    names: Callable[[Connection], list[str]]
    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        return str(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's signature)
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Names that begin with `incomplete`; none of a store that is busy, of another version or missing."""
        try:
            names = _stored(self.names)
        except ZkPipelineError:
            return []  # a message would be printed into the line that the user types
        return [CompletionItem(name) for name in names if name.casefold().startswith(incomplete.casefold())]


def _stored(names: Callable[[Connection], list[str]]) -> list[str]:
    """The names in the store; writes nothing, unlike `open_context`, which fills an empty home."""
    home = find_home(os.environ)
    variables = {**read_env_file(home / ".env"), **os.environ}
    settings = parse_settings(home, variables, lambda _: in_file(home))
    database = Database(settings.store, wait_seconds=_COMPLETION_WAIT_SECONDS)
    with database.read_current("complete names") as connection:
        return [] if connection is None else names(connection)


_COMPLETION_WAIT_SECONDS = 0.5
WORK_DATE = WorkDate()
DEVICE = StoredName(device_names)
SITE = StoredName(site_names)
PORT = click.IntRange(1, 65535)
