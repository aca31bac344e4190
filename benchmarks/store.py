"""Benchmark of the store: `python -m benchmarks.store` from a checkout. Figures: store.md.

`store_access_methods` has the compared access methods, `store_growth` the growing store; this module the processes,
timers and tables.
"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.store_access_methods import METHODS, ROWS, Method, prepare, read_until, stored, write_batches
from benchmarks.store_growth import Kind, fill, measure
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import end_lakes, lakes

READERS = 8
SIZES = (100_000, 1_000_000, 10_000_000, 50_000_000)

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["benchmarks.store_access_methods", "pandas", "duckdb"])


@dataclass(frozen=True)
class Met:
    """Wait times of one kind of process in seconds; each list is sorted."""

    waits: list[float]
    failed: list[float]
    mean_work: float

    @classmethod
    def of(cls, files: Sequence[Path]) -> Met:
        lines = [line.split() for path in files for line in path.read_text().splitlines()]
        done = [(float(line[1]), float(line[2])) for line in lines if line[0] == "ok"]
        waits = sorted(wait for wait, _ in done)
        work = sum(total - wait for wait, total in done) / max(1, len(done))
        return cls(waits, sorted(float(line[1]) for line in lines if line[0] == "failed"), work)

    def quantile(self, share: float) -> float:
        return self.waits[min(len(self.waits) - 1, int(share * len(self.waits)))] if self.waits else float("nan")

    @property
    def longest(self) -> float:
        return max([*self.waits, *self.failed], default=float("nan"))


@click.group()
def main() -> None:
    """Benchmarks of the store. Prints Markdown tables."""


@main.command()
@click.option("--writers", "counts", multiple=True, type=int, default=(2, 8, 32), show_default=True)
@click.option("--writes", default=50, show_default=True, help="Writes of 1,000 rows by each writer.")
@click.option(
    "--method", "methods", multiple=True, type=click.Choice(list(METHODS)), default=tuple(METHODS), show_default=True
)
@click.option(
    "--at-most", default=900.0, show_default=True, help="Seconds for one run; unfinished writers are reported."
)
def writers(counts: tuple[int, ...], writes: int, methods: tuple[Method, ...], at_most: float) -> None:
    """Concurrent writers and 8 readers, by each access method. Needs `uv sync --group bench` for dagster-duckdb, and
    Debian's postgresql for the shared store.

    \b
    Example:  python -m benchmarks.store writers --writers 8 --writes 50
    """
    click.echo(
        "| method | writers × writes | done | failed | rows missing / doubled | writes/s | wait p50 | p99 | longest "
        "| ideal queue | reads/s | reads failed | longest |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for count in counts:
        for method in methods:
            click.echo(_row(method, count, writes, at_most))


def _row(method: Method, count: int, writes: int, at_most: float) -> str:
    with tempfile.TemporaryDirectory(prefix="store-benchmark-") as name:
        folder = Path(name)
        path, stop = lakes().fresh(folder) if method == "shared" else folder / "store.duckdb", folder / "stop"
        prepare(path)
        started = [
            processes.Process(target=read_until, args=(method, path, folder / f"reader-{number}", stop), daemon=True)
            for number in range(READERS)
        ]
        writing = [
            processes.Process(target=write_batches, args=(method, path, folder / f"writer-{number}", number, writes),
                              daemon=True)
            for number in range(count)
        ]  # fmt: skip
        for process in (*started, *writing):
            process.start()
        began = time.monotonic()
        for process in writing:
            process.join(max(0.0, began + at_most - time.monotonic()))
        seconds = time.monotonic() - began
        late = sum(process.is_alive() for process in writing)
        stop.touch()
        for process in (*writing, *started):
            if late:
                process.kill()
            process.join(120)
            if process.is_alive():
                process.kill()
                process.join()
        wrote, read = (Met.of(sorted(folder.glob(f"{kind}-*"))) for kind in ("writer", "reader"))
        rows, doubled = stored(path)
        ideal = _ideal(path, count) if method == "zk_pipeline" else float("nan")
    end_lakes()
    done = len(wrote.waits)
    unfinished = f", {late} writers not done after {at_most:.0f} s" if late else ""
    return (
        f"| {method} | {count} × {writes} | {done} | {len(wrote.failed)}{unfinished} | "
        f"{done * ROWS - rows + doubled} / {doubled} | {done / seconds:.1f} | "
        f"{wrote.quantile(0.5):.2f} s | {wrote.quantile(0.99):.2f} s | "
        f"{wrote.longest:.2f} s | {'–' if math.isnan(ideal) else f'{ideal:.2f} s'} | "
        f"{len(read.waits) / seconds:.1f} | {len(read.failed)} | {read.longest:.2f} s |"
    )


def _ideal(path: Where, count: int) -> float:
    """Every writer once, for as long as a write holds the store on average, and readers in one go between two."""
    kinds = {one.operation: one.lock_time for one in Store.at(path).lock_statistics().operations}
    write, read = kinds["write"], kinds["read"]
    return count * (write.sum_ms / write.count + read.sum_ms / read.count) / 1e3


@main.command()
@click.option("--size", "sizes", multiple=True, type=int, default=SIZES, show_default=True)
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Folder of the temporary stores.")
def growth(sizes: tuple[int, ...], folder: Path | None) -> None:
    """Ingest 1,000 new punches into stores of any size, alone and at the end of a whole log of 100,000.

    \b
    Example:  python -m benchmarks.store growth --size 1000000
    """
    kinds: tuple[Kind, ...] = ("new punches", "a whole log")
    click.echo("| stored | file | poll of | median | longest of 7 | memory beyond imports | file grows by |")
    click.echo("|---|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder, prefix="store-benchmark-") as name:
            path = Path(name) / "store.duckdb"
            fill(path, size)
            for kind in kinds:
                one = measure(path, size, kind)
                click.echo(
                    f"| {size:,} | {one.file_mb:.0f} MB | {kind} | {one.median_ms:.0f} ms | {one.longest_ms:.0f} ms | "
                    f"{one.memory_mb:.0f} MB | {one.grown_kb:.0f} kB |"
                )


if __name__ == "__main__":
    main()
