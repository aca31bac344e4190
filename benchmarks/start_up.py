"""Benchmark of the start-up of commands: `python -m benchmarks.start_up` from a checkout. Figures: start_up.md.

Each command runs in a process of its own, in a home with one terminal, a day of punches and one of each list. With
`--base`, the commands of another checkout (`git worktree add`) run in turn with those of this one, in a home of their
own, so that both have the same load. CPU is user and system time as counted by the kernel.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

HERE = Path(__file__).parents[1]
DAY = (datetime.now(UTC) - timedelta(days=2)).date()
FILL = (
    "device add Gate 192.0.2.10",
    "import punches {file} --device Gate",
    f"process --date {DAY}",
    "shift add night --start 22:00 --end 06:00",
    f"holiday add {DAY} Feast",
    f"leave add --user-id 1002 --start-date {DAY} --kind sick",
    f"period open {DAY:%Y-%m}",
    "api-token create reports",
)
COMMANDS = (
    "device list",
    "device show Gate",
    f"explain --user-id 1001 --date {DAY}",
    "quarantine list",
    "period list",
    "shift list",
    "holiday list",
    "leave list",
    "punch list",
    "api-token list",
    "who",
    "status",
    "--help",
    "device --help",
    "poll --help",
    "process --help",
    "sync --help",
    "import --help",
    "export --help",
    "backup --help",
    "doctor --help",
    "demo --help",
    "up --help",
    "api --help",
)


def run(checkout: Path, home: Path, command: str) -> float:
    """CPU seconds of a command of a checkout. Raises CalledProcessError if it fails."""
    environ = {**os.environ, "ZK_PIPELINE_HOME": str(home), "PYTHONPATH": str(checkout)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(  # noqa: S603 (constant commands)
        [sys.executable, "-m", "zk_pipeline", *command.split()],
        cwd=checkout,
        env=environ,
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def filled_home(checkout: Path, home: Path) -> Path:
    """A new home, filled by commands of the checkout."""
    home.mkdir()
    file = home / "punches.csv"
    times = [f"{user},{DAY} {hour}:{user % 60:02}" for user in range(1001, 1051) for hour in ("08", "17")]
    file.write_text("\n".join(["user_id,punched_at_local", *times]) + "\n")
    for command in FILL:
        run(checkout, home, command.format(file=file))
    return home


@click.command()
@click.option("--base", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout.")
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each command.")
def main(base: Path | None, repeat: int) -> None:
    """Print the least CPU time of each command as a table in Markdown."""
    checkouts = [*([base.resolve()] if base else []), HERE]
    with tempfile.TemporaryDirectory() as folder:
        homes = {one: filled_home(one, Path(folder) / str(number)) for number, one in enumerate(checkouts)}
        click.echo("| command | before (s) | now (s) |\n|---|---|---|" if base else "| command | now (s) |\n|---|---|")
        for command in COMMANDS:
            seconds: dict[Path, list[float]] = {one: [] for one in checkouts}
            for _ in range(repeat):
                for one in checkouts:
                    seconds[one].append(run(one, homes[one], command))
            figures = " | ".join(f"{min(seconds[one]):.2f}" for one in checkouts)
            click.echo(f"| `{command.replace(str(DAY), 'DATE')}` | {figures} |")


if __name__ == "__main__":
    main()
