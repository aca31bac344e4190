"""Doctor: read-only checks of the settings, disks, files next to the store, Dagster's home and the store itself."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import yaml

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.counted import counted
from zk_pipeline.crm.dns import resolve
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.devices.errors import AddressNotAllowed
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.networks import Network, check_host_in_networks, device_at, without_scope
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.crm_pause import paused_until
from zk_pipeline.operations.payroll.profiles import read_profiles
from zk_pipeline.operations.sync import check_crm, crm_mapping
from zk_pipeline.store.errors import StoreBusy, StoreUnreachable
from zk_pipeline.store.locks.network_mounts import network_file_system
from zk_pipeline.store.quality.doctor import Doctor, Finding
from zk_pipeline.store.store import Store
from zk_pipeline.time_text import instant

_LITTLE, _TOO_LITTLE = 2.0, 0.2  # GB free on a disk
_MUCH_HISTORY = 2.0  # GB of Dagster's history
_LONG_PAUSE = timedelta(hours=1)
_LOOKUP_SECONDS, _MAX_LOOKUPS = 3.0, 64  # of host names: time for each, and number at once
DAGSTER_STORAGE = ("history", "schedules", "storage", "logs")  # folders below DAGSTER_HOME


def examine(environ: Mapping[str, str], now: datetime) -> Iterator[Finding]:
    """All findings; those about the store come last, and end with the first that prevents further checks."""
    try:
        settings = load_settings(environ)
    except UsageError as error:
        yield Finding("error", "settings", str(error), "correct the setting; no command works until then")
        return
    yield from _settings(settings)
    yield from _disks(settings)
    yield from _dagster_home(Path(environ.get("DAGSTER_HOME", "").strip() or settings.home))
    yield from _files(settings.database_path)
    yield from _private_files(settings, Path(environ.get("DAGSTER_HOME", "").strip() or settings.home))
    yield from _writable_folders(settings, Path(environ.get("DAGSTER_HOME", "").strip() or settings.home))
    yield from _store(settings, now)


def _settings(settings: Settings) -> Iterator[Finding]:
    if settings.crm_api_url is None:
        yield Finding(
            "note", "no-crm", "CRM_API_URL is not set: no delivery is sent", "set it if a CRM is to get the days"
        )
    elif settings.crm_lookup is None:
        yield Finding(
            "note",
            "no-lookup",
            "CRM_LOOKUP is not set: only the CRM's idempotency keys prevent duplicate records",
            "set it, or leave it unset if the CRM stores the keys (docs/crm.md)",
        )
    try:
        if settings.crm_api_url is None:
            crm_mapping(settings)
        else:
            check_crm(settings)
    except CrmMisconfigured as error:
        yield Finding("error", "crm-settings", str(error), "correct the setting; no delivery is sent until then")
    try:
        read_profiles(settings.payroll_profiles_path)
    except UsageError as error:
        yield Finding("error", "payroll-profiles", str(error), "correct the line; no payroll is exported until then")
    if settings.alert_urls is None:
        yield Finding("note", "no-alerts", "ALERT_URLS is not set: no alert is sent", "see .env.example")


def _disks(settings: Settings) -> Iterator[Finding]:
    for what, folder in {"the store": settings.database_path.parent, "the home": settings.home}.items():
        there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
        if not os.access(there, os.W_OK) or os.statvfs(there).f_flag & os.ST_RDONLY:
            advice = "make it writable for the service user"
            yield Finding("error", "read-only", f"{there}, the folder of {what}, is not writable", advice)
        usage = shutil.disk_usage(there)
        left = usage.free / 1e9
        needed = settings.database_path.stat().st_size / 1e9 if settings.database_path.exists() else 0.0
        if left < _TOO_LITTLE or left < needed:
            problem, advice = f"{left:,.2f} GB free on the disk of {what}", "free space: polls and backups need it"
            yield Finding("error" if left < _TOO_LITTLE else "warning", "disk-space", problem, advice)
        elif left < _LITTLE:
            yield Finding("note", "disk-space", f"{left:,.1f} GB free on the disk of {what}", "free space soon")
        kind = network_file_system(there)
        if kind is not None:
            yield Finding(
                "error", "network-disk", f"{there} is a network file system ({kind})",
                "keep the store on a local disk: locks and DuckDB need one",
            )  # fmt: skip


def _dagster_home(home: Path) -> Iterator[Finding]:
    file = home / "dagster.yaml"
    if not home.is_absolute():
        yield Finding("error", "dagster-home", f"DAGSTER_HOME={home} is not absolute", "export an absolute path")
        return
    try:
        _read_config(file)
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, a date that there is not
        why = " ".join(str(error).split())
        yield Finding("error", "dagster-yaml", f"{file} cannot be read: {why}", "copy the shipped dagster.yaml there")
        return
    history = home / "history"
    size = sum(one.stat().st_size for one in history.rglob("*") if one.is_file()) / 1e9
    if size > _MUCH_HISTORY:
        yield Finding(
            "warning", "dagster-history", f"Dagster's history uses {size:,.1f} GB in {history}",
            "lower RUN_RETENTION_DAYS; the daily clean-up deletes 2,000 old runs per night",
        )  # fmt: skip


def is_instance_in_use(dagster_home: Path) -> bool:
    """True if Dagster's storage exists: opening the instance would otherwise create its SQLite files."""
    return (dagster_home / "history").exists() or "storage" in _read_config(dagster_home / "dagster.yaml")


def _read_config(file: Path) -> dict[str, object]:
    """`dagster.yaml` as Dagster reads it; empty if there is none, with which Dagster has its defaults."""
    config = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    return config if isinstance(config, dict) else {}


def _files(store: Path) -> Iterator[Finding]:
    """Files of killed commands next to the store. DuckDB merges its write-ahead log when the store is next opened."""
    if store.parent.is_dir():
        left = sorted(
            one.name
            for one in store.parent.iterdir()
            if one.name.startswith(f".{store.name}.") and ".part" in one.name and not _is_alive(one.name)
        )
        if left:
            yield Finding(
                "warning",
                "left-files",
                f"killed commands left {', '.join(left)} in {store.parent}",
                "delete them, unless a process in another container writes them",
            )
    log = store.with_name(f"{store.name}.wal")
    if log.exists() and log.stat().st_size:
        yield Finding(
            "note",
            "log",
            f"{log.name} has the last commits of a killed process",
            "none needed: the next write merges it",
        )


def _private_files(settings: Settings, dagster_home: Path) -> Iterator[Finding]:
    """Files with personal data or secrets that other users may use, or that the home's own user may not."""
    paths = [path for path in _confidential(settings, dagster_home) if not path.is_symlink() and path.exists()]
    found = [(path, one) for path in paths for one in (path, *path.rglob("*")) if not one.is_symlink()]
    states = [(path, one, one.stat()) for path, one in found if one.exists()]  # a side file may just have ended
    readable = [(path, one) for path, one, state in states if state.st_mode & 0o077]
    if readable:
        roots = sorted({str(path) for path, _ in readable})
        yield Finding(
            "warning",
            "readable-files",
            f"other users of this machine may use {_first_names([one for _, one in readable])}",
            f"`chmod -R go= {shlex.join(roots)}`, unless that is wanted; new files are private",
        )
    owner = settings.home.stat().st_uid
    foreign = [(path, one) for path, one, state in states if state.st_uid != owner]
    if foreign:
        roots = sorted({str(path) for path, _ in foreign})
        yield Finding(
            "error",
            "foreign-files",
            f"{_first_names([one for _, one in foreign])} have another owner than {settings.home}",
            f"`sudo chown -R --reference={shlex.quote(str(settings.home))} {shlex.join(roots)}`, and run commands as "
            "that user only",
        )


def _writable_folders(settings: Settings, dagster_home: Path) -> Iterator[Finding]:
    """Folders in which other users may replace the settings, the store or a backup."""
    folders = {settings.home, dagster_home, settings.database_path.parent, *_backup_folders(settings)}
    open_ones = sorted(one for one in folders if one.is_dir() and one.stat().st_mode & 0o022)
    if open_ones:
        yield Finding(
            "warning",
            "writable-folders",
            f"other users of this machine may replace files in {_first_names(open_ones)}",
            f"`chmod go-w {shlex.join(map(str, open_ones))}`",
        )


def _backup_folders(settings: Settings) -> set[Path]:
    """Usual folders of backups; a link leads to another disk."""
    default = settings.backups_path
    return {default.resolve(), (settings.database_path.parent / default.name).resolve()}


def _confidential(settings: Settings, dagster_home: Path) -> Iterator[Path]:
    """`.env`, the store with its side files, backups, and the storage of Dagster; not the published copy."""
    yield from sorted(_backup_folders(settings))
    yield settings.home / ".env"
    store = settings.database_path
    yield from store.parent.glob(f"{store.name}*")
    yield from store.parent.glob(f".{store.name}.*")
    yield from (dagster_home / name for name in DAGSTER_STORAGE)


def _first_names(paths: list[Path]) -> str:
    named = ", ".join(str(path) for path in paths[:3])
    return named if len(paths) <= 3 else f"{named} and {counted(len(paths) - 3, 'other file')}"


def _is_alive(name: str) -> bool:
    pid = name.partition(".part")[0].rpartition(".")[2]
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def _store(settings: Settings, now: datetime) -> Iterator[Finding]:
    store = Store.at(settings.store)
    try:
        if store.database.engine.is_missing():
            problem = f"there is no store at {store.database.name} yet"
            yield Finding("note", "no-store", problem, "none needed: the first command creates it")
            return
        if store.database.needs_upgrade():
            problem = f"{store.database.name} is of an earlier version, and was not examined"
            yield Finding("warning", "old-store", problem, "start `zk-pipeline up`, or run any command: it upgrades it")
            return
        found = list(Doctor(store.database).examine(now))
        yield from found
        if not any(one.name == "tables" for one in found):
            yield from _pause(store, settings, now)
            yield from _networks(store, settings)
    except StoreUnreachable as error:
        yield Finding("error", "unreachable", str(error), "check that PostgreSQL runs and accepts this host")
    except StoreBusy as error:
        yield Finding("error", "busy", str(error), "wait, or stop the process that holds the lock")
    except ZkPipelineError as error:
        advice = "correct the cause; if the store is damaged, restore a backup: `zk-pipeline restore FILE`"
        yield Finding("error", "store", str(error), advice)


def _networks(store: Store, settings: Settings) -> Iterator[Finding]:
    """Polled devices whose address is not allowed, or that of their host name now; each connection checks it, too."""
    networks = settings.device_networks
    polled = [device for device in store.devices.all() if device.polled]
    if networks is None or not polled:
        return
    with ThreadPoolExecutor(min(len(polled), _MAX_LOOKUPS)) as pool:
        problems = list(pool.map(partial(_network_problem, networks=networks), polled))
    for device, problem in zip(polled, problems, strict=True):
        if problem is not None:
            advice = f"`zk-pipeline device update {shlex.quote(device.name)} --ip ADDRESS`, or extend DEVICE_NETWORKS"
            yield Finding("error", "device-network", f"{device.name} is not polled: {problem}", advice)


def _network_problem(device: Device, networks: tuple[Network, ...]) -> str | None:
    """The reason why no connection to the device is allowed; None also if its host name has no address now."""
    try:
        check_host_in_networks(device.ip_address, networks)
        found = resolve(device.ip_address, device.port, seconds=_LOOKUP_SECONDS)
        device_at(device, [without_scope(address) for address, _ in found], networks)
    except UsageError as error:
        return str(error)
    except AddressNotAllowed as error:
        return error.problem
    except (OSError, UnicodeError):  # polls of the device fail, with the reason
        return None
    return None


def _pause(store: Store, settings: Settings, now: datetime) -> Iterator[Finding]:
    until = paused_until(store, settings)
    if until is not None and until - now > _LONG_PAUSE:
        yield Finding(
            "warning", "crm-paused", f"no delivery is sent before {instant(until)}: the CRM asked for a "
            "pause with Retry-After",
            "wait; or, if the CRM has recovered, `zk-pipeline sync --force`, which also sends delivered records again",
        )  # fmt: skip
