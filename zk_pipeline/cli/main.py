"""The command `zk-pipeline`: its subcommands, and what every one of them does with errors and interrupts.

Exit codes: 0 success, 1 the work failed, 2 wrong usage or settings, 130 after SIGINT, 143 after SIGTERM. Results go to
stdout, diagnostics to stderr, each error as one line.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from zk_pipeline import __version__
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.processes import check_for_end, ended_by, run_with_graceful_shutdown

# Name, module under `zk_pipeline.cli`, and what `--help` says of it. Imported only when used: `--help` must not wait
# for Dagster, pandas and DuckDB.
COMMANDS = {
    "demo": ("demo", "First look without hardware: emulated terminals, a local CRM, the Dagster UI."),
    "up": ("services", "Production start on one machine: webserver and daemon, schedules and sensors running."),
    "worker": ("worker", "Do runs on this host."),
    "status": ("status", "What is late, what failed, and whether the daemon is alive."),
    "doctor": ("doctor", "What is wrong with settings, disks and the store, and what to do."),
    "device": ("devices", "Register terminals and look after them."),
    "shift": ("shifts", "Working hours beside those of the settings, and who has them."),
    "holiday": ("holidays", "Dates on which nobody is expected."),
    "explain": ("explain", "What was said of a person's day, when, and why."),
    "repair": ("repair", "Correct punches that earlier versions stored wrongly."),
    "quarantine": ("quarantine", "Records that could not be read as punches."),
    "test-device": ("connectivity", "Connect to terminals and print what they say of themselves."),
    "poll": ("pipeline", "Read terminals and store their punches."),
    "process": ("pipeline", "Make days from punches."),
    "sync": ("pipeline", "Deliver to the CRM what is due."),
    "test-crm": ("connectivity", "Check the CRM's connection and credentials without creating a record."),
    "live": ("live", "Store punches as they happen."),
    "export": ("export", "Raw punches, days or absences as a CSV, Parquet or Excel file."),
    "month": ("month", "The month sheet of one person."),
    "backup": ("backup", "A verified copy of the store, made while runs go on."),
    "restore": ("backup", "Put a backup in the store's place."),
    "migrate-store": ("migrate_store", "A verified copy of the store in another place or on another engine."),
    "api": ("api", "Serve the REST API and the web admin."),
    "api-token": ("api_tokens", "Tokens of the REST API and the web admin."),
    "cleanup": ("pipeline", "Do what the daily clean-up job does."),
    "alert-test": ("alerting", "Send a test message to every channel of ALERT_URLS."),
    "watchdog": ("alerting", "Tell people when the daemon does not beat."),
    "simulate": ("services", "Run emulated terminals only."),
}


class LazyGroup(click.Group):
    """Subcommands by name, each imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"zk_pipeline.cli.{COMMANDS[cmd_name][0]}")
        check_for_end()
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


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
    """Run the command line; its exit code."""
    return run_with_graceful_shutdown(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = _run_command(arguments)
    except Exception as error:
        reason = _full_disk(error)
        if reason is None:
            raise
        _complain(f"a disk is full or cannot be written ({reason}): see that it can, and run it again")
        code = 1
    number = ended_by()
    return 128 + number if code and number is not None else code


def _run_command(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="zk-pipeline", standalone_mode=False)
        sys.stdout.flush()  # a signal from now on ends the process at once
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        hint = f" (see {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        _complain(error.format_message() + hint)
        return error.exit_code
    except ZkPipelineError as error:
        _complain(str(error))
        return 2 if isinstance(error, UsageError) else 1
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to say
        return 1
    return result if isinstance(result, int) else 0


def _full_disk(error: BaseException | None) -> str | None:
    """What says so in an exception or in those that it came from: a disk that is full fails DuckDB, Dagster and SQLite
    in classes of their own. SQLite says of its log of writes, which it maps into memory, only that the disk failed.
    """
    words = r"No space left on device|database or disk is full|Disk quota exceeded|disk I/O error"
    while error is not None:
        if found := re.search(words, str(error)):
            return found.group()
        error = error.__cause__ or error.__context__
    return None


def _complain(words: str) -> None:
    click.echo(f"zk-pipeline: {' '.join(words.split())}", err=True)
