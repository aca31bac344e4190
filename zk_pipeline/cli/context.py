"""Context of one command: settings, store, terminals and run launcher; parameter types that commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.output import ZONE
from zk_pipeline.config.home import export_home
from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.store.store import Store

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

    Raises UsageError.
    """
    settings = load_settings()
    click.get_current_context().meta[ZONE] = settings.timezone
    export_home(settings.home, os.environ)
    return CliContext(settings)


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


WORK_DATE = WorkDate()
PORT = click.IntRange(1, 65535)
