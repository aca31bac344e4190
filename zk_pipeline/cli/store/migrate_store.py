"""`zk-pipeline migrate-store`: copy the store to another place or engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_table, wide_option, working
from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.config.settings import store_address
from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.maintenance.site_split import Part
from zk_pipeline.store.maintenance.store_migration import StoreMigration

_COLUMNS = ("table", "rows", "partitions", "copied", "checksum")


@click.command("migrate-store")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--site", "sites", multiple=True, metavar="NAME", help="Copy this site only; can be repeated.")
@wide_option
@as_json
def migrate_store(source: str, target: str, sites: tuple[str, ...], as_json: bool) -> None:
    """Make a verified copy of the store in another place or on another engine.

    Row counts and checksums of TO are compared with FROM for each work date and month. FROM and TO are DuckDB files or
    addresses as in ZK_PIPELINE_DATABASE, `ducklake:postgres:<dsn>;data=<folder>`. FROM is not changed: stop
    `zk-pipeline up` before, and set ZK_PIPELINE_DATABASE to TO afterwards. TO must not contain other data; an
    interrupted copy is resumed by the next run.

    With --site, TO gets the terminals, punches, days and deliveries of these sites, and what belongs to no site, such
    as shifts, common holidays and API tokens. Refused if users of these sites have punches at other sites, too. To
    split a store, copy each site into one part, and start only the parts.

    \b
    Example:  zk-pipeline migrate-store data/attendance.duckdb data/head-office.duckdb --site "Head office"
    """
    context = open_context()
    here, there = (Database(_place(text, context.settings.home)) for text in (source, target))
    part = Part(tuple(dict.fromkeys(sites)), is_record_per_site=context.settings.crm_record_per == "site")
    migration = StoreMigration(here, there, _tell, part)
    with working("copying the store"):
        moved = migration.move()
    tables = [asdict(table) | {"checksum": f"{table.checksum % 2**64:016x}"} for table in moved.tables]
    if as_json:
        print_json(asdict(moved) | {"tables": tables, "rows": moved.rows, "copied": moved.copied})
        return
    print_table([table for table in tables if table["partitions"]], _COLUMNS)
    click.echo(
        f"{moved.rows:,} rows of {moved.source} are in {moved.target}, verified; "
        f"{counted(moved.copied, 'partition')} copied now, in {moved.seconds:.1f} s"
    )


def _tell(table: str, done: int, of: int) -> None:
    note(f"{table}: {done:,} of {of:,} partitions")


def _place(text: str, home: Path) -> Path | LakeAddress:
    try:
        return store_address(text, home)
    except ValueError as error:
        raise UsageError(f"not a store address: {error}") from None
