"""The command `zk-pipeline`: its subcommands, error messages and exit codes.

Exit codes: 0 success, 1 the work failed, 2 wrong usage or settings, 130 after SIGINT, 143 after SIGTERM. Results go to
stdout, diagnostics to stderr, each error as one line.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click
from click.shell_completion import CompletionItem, add_completion_class

from zk_pipeline import __version__
from zk_pipeline.cli.completion import QuotingBashComplete
from zk_pipeline.errors import RowsRefused, UsageError, ZkPipelineError
from zk_pipeline.runtime.private_files import keep_files_private
from zk_pipeline.runtime.processes import check_for_end, ended_by, run_with_graceful_shutdown

# Name: (module under `zk_pipeline.cli`, summary in `--help`). Modules are imported when used: `--help` must not import
# Dagster, pandas and DuckDB.
COMMANDS = {
    "demo": ("instance.demo", "First look without hardware: emulated terminals, a local CRM, the Dagster UI."),
    "up": ("instance.up", "Production start on one machine: webserver and daemon, schedules and sensors running."),
    "worker": ("instance.worker", "Execute runs on this host."),
    "status": ("instance.status", "Devices, stale dates, delivery queue, daemon and schedules."),
    "doctor": ("instance.doctor", "Check settings, disks and the store; print findings with advice."),
    "device": ("terminals.device", "Register terminals and maintain them."),
    "shift": ("attendance.shift", "Shifts besides the hours of the settings, and their assignments."),
    "holiday": ("attendance.holiday", "Dates on which no attendance is expected."),
    "leave": ("attendance.leave", "Leave and other reasons of absence."),
    "who": ("attendance.who", "List who is in now, by site."),
    "punch": ("attendance.punch", "Manual punches: requests for punches that no terminal recorded, and decisions."),
    "explain": ("attendance.explain", "Punches, rules, revisions and deliveries of one attendance day."),
    "repair": ("terminals.repair", "Correct punches that earlier versions stored wrongly."),
    "quarantine": ("terminals.quarantine", "Records that could not be read as punches."),
    "test-device": ("terminals.connectivity", "Connect to terminals and print their device information."),
    "poll": ("terminals.poll", "Read terminals and store their punches."),
    "import": ("terminals.imports", "Import punches from files, and the history of the Django bridge."),
    "process": ("attendance.process", "Compute attendance days from punches."),
    "sync": ("crm.sync", "Deliver due records to the CRM."),
    "test-crm": ("crm.connectivity", "Check the CRM's connection and credentials without creating a record."),
    "live": ("terminals.live", "Store punches as the terminals report them."),
    "export": ("attendance.export", "Export raw punches, attendance days or absences as a CSV, Parquet or Excel file."),
    "period": ("attendance.period", "Payroll periods: open, close, open again, list adjustments."),
    "payroll": ("attendance.payroll", "Hours by pay class, for payroll systems."),
    "month": ("attendance.month", "Print the month sheet of one employee."),
    "backup": ("store.backup", "Make a verified copy of the store while runs continue."),
    "restore": ("store.backup", "Replace the store by a backup."),
    "migrate-store": (
        "store.migrate_store",
        "Make a verified copy of the store in another place or on another engine.",
    ),
    "api": ("server.api", "Serve the REST API and the web admin."),
    "receive": ("server.receive", "Receive the punches of terminals that push."),
    "api-token": ("server.api_token", "Tokens of the REST API and the web admin."),
    "cleanup": ("store.cleanup", "Run the daily clean-up job now."),
    "test-alerts": ("instance.alerts", "Send a test message to every channel of ALERT_URLS."),
    "watchdog": ("instance.alerts", "Send an alert if the Dagster daemon has no heartbeat."),
    "simulate": ("terminals.simulate", "Run emulated terminals only."),
}
ALIASES = {"alert-test": "test-alerts"}  # former names: still accepted, not listed


class LazyGroup(click.Group):
    """Subcommands by name, each imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module = import_module(f"zk_pipeline.cli.{COMMANDS[name][0]}")
        check_for_end()
        attribute = f"{name}_" if iskeyword(name) else name.replace("-", "_")
        command: click.Command = getattr(module, attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # ends the line of the ^C; click does so everywhere
            raise click.Abort from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands with their summaries, and options; imports no command."""
        found = [
            CompletionItem(name, help=summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="zk-pipeline")
def cli() -> None:
    """Attendance punches from ZKTeco terminals into DuckDB, daily attendance, exactly-once delivery to a CRM.

    \b
    First look without hardware:  zk-pipeline demo
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    keep_files_private()
    add_completion_class(QuotingBashComplete)
    return run_with_graceful_shutdown(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = _run_command(arguments)
    except Exception as error:
        reason = _full_disk(error)
        if reason is None:
            raise
        _print_error(f"a disk is full or not writable ({reason}): free space or make it writable, then try again")
        code = 1
    number = ended_by()
    return 128 + number if code and number is not None else code


def _run_command(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="zk-pipeline", standalone_mode=False)
        sys.stdout.flush()  # from here a signal ends the process at once
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        hint = f" (see {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        _print_error(_usage_message(error) + hint)
        return error.exit_code
    except ZkPipelineError as error:
        for line in [f"{error.head}:", *error.rows] if isinstance(error, RowsRefused) else [str(error)]:
            _print_error(line)
        return 2 if isinstance(error, UsageError) else 1
    except (KeyboardInterrupt, click.Abort):
        _print_error("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader closed the pipe
        return 1
    return result if isinstance(result, int) else 0


def _usage_message(error: click.ClickException) -> str:
    """The message of click, with the option or value that is meant."""
    path = error.ctx.command_path.partition(" ")[2] if isinstance(error, click.UsageError) and error.ctx else ""
    if isinstance(error, click.exceptions.NoSuchOption):
        if advice := _OTHER_FORMS.get((path, error.option_name)):
            return f"{error.message} {advice}"
        # click also compares the dashes, which all options share.
        near = [one for one in error.possibilities or () if difflib.get_close_matches(error.option_name[2:], [one[2:]])]
        error = click.exceptions.NoSuchOption(error.option_name, error.message, near, error.ctx)
    elif isinstance(error, click.BadParameter) and (advice := _OTHER_FORMS.get((path, _refused_value(error)))):
        return f"{error.format_message()} {advice}"
    return error.format_message()


def _refused_value(error: click.BadParameter) -> str:
    """The value that a choice refuses, as its message begins with it; empty for other parameters."""
    is_choice = error.param is not None and isinstance(error.param.type, click.Choice)
    return error.message.split("'")[1] if is_choice and error.message.startswith("'") else ""


# Advice for options and values that other commands or pages use, by command.
_OTHER_FORMS = {
    ("device update", "--enabled"): "`zk-pipeline device enable NAME` enables a device.",
    ("device update", "--disabled"): "`zk-pipeline device disable NAME` disables a device.",
    ("export", "punches"): "Did you mean 'raw'?",
    ("export", "days"): "Did you mean 'attendance'?",
}


def _full_disk(error: BaseException | None) -> str | None:
    """The message of a full disk in an exception or its causes, or None. DuckDB, Dagster and SQLite raise exceptions of
    their own for it; SQLite reports only an I/O error if the memory-mapped write-ahead log cannot grow.
    """
    pattern = r"No space left on device|database or disk is full|Disk quota exceeded|disk I/O error"
    while error is not None:
        if match := re.search(pattern, str(error)):
            return match.group()
        error = error.__cause__ or error.__context__
    return None


def _print_error(message: str) -> None:
    click.echo(f"zk-pipeline: {' '.join(message.split())}", err=True)
