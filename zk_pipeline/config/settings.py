"""Every environment variable: typed, checked once, handed on as one frozen value.

Nothing here is read at import. Exported variables win over `.env` in the home.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from zk_pipeline.config.ducklake_address import PREFIX, LakeAddress, parse_lake
from zk_pipeline.config.home import find_home, prepare_home
from zk_pipeline.config.poll_queues import split_poll_queues
from zk_pipeline.errors import UsageError


def _wall_time(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", value.strip()):
        raise ValueError("must be a time of day such as 09:00")
    return value.strip().zfill(5) if isinstance(value, str) else value


def _empty_is_unset(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _known_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("is not an IANA time zone such as Europe/Istanbul") from None
    return value


def _plain_date(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip()):
        raise ValueError("must be a date such as 2020-01-01")
    return value


def _store(value: Any) -> Path | LakeAddress:
    text = str(value).strip()
    if not text:
        raise ValueError("is empty; name the DuckDB file, or leave the variable out")
    if text.startswith(PREFIX):
        return parse_lake(text)
    if re.match(r"[A-Za-z]\w+:", text):
        raise ValueError("must be the path of a DuckDB file, or ducklake:postgres:<dsn>;data=<folder or s3://...>")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # "~name" of an unknown user
        raise ValueError(str(error)) from None


def store_address(text: str, home: Path) -> Path | LakeAddress:
    """The store that `text` names as ZK_PIPELINE_DATABASE. Raises ValueError with a message that repeats no secret."""
    address = _store(text)
    return address.below(home) if isinstance(address, LakeAddress) else home / address


def _split_key_prefix(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = tuple(value.strip().split("/")) if value.strip() else ()
    if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", part) for part in parts):
        raise ValueError("must be a name of letters, digits and underscores such as hr, or several as in hr/berlin")
    return parts


def _divides_a_day(value: int) -> int:
    if 1440 % value:
        raise ValueError("must divide a day evenly, as 1, 5, 10, 15, 20, 30, 60 or 90 do")
    return value


def _web_address(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"https?://[^\s@]+", value):
        raise ValueError("must be an address such as https://attendance.example.com, without a name or password in it")
    return value.rstrip("/") if isinstance(value, str) else value


def split_alert_urls(text: str) -> list[tuple[frozenset[str], str]]:
    """(routes, URL) of each channel in ALERT_URLS; no routes if it receives all alerts."""
    # A comma may also be part of a URL (several recipients of one e-mail).
    parts = [part for part in re.split(r"\s+|,(?=\s|$|(?:[\w+]+=)?[\w+.-]+://)", text) if part]
    found = [re.fullmatch(r"(?:([\w+]+)=)?(.*)", part) for part in parts]
    return [(frozenset(match[1].split("+")) if match[1] else frozenset(), match[2]) for match in found if match]


def _known_routes(value: SecretStr | None) -> SecretStr | None:
    for number, (routes, _) in enumerate(split_alert_urls(value.get_secret_value() if value else ""), start=1):
        if unknown := routes - {*SEVERITIES, *OWNERS}:
            raise ValueError(
                f"number {number} is for {' and '.join(sorted(unknown))}, but routes are "
                f"{', '.join((*SEVERITIES, *OWNERS))}"
            )
    return value


def _event_codes(value: Any) -> Any:
    """Codes of a text such as `0,1,14-19`; None for an empty one."""
    if not isinstance(value, str) or not value.strip():
        return None if isinstance(value, str) else value
    codes: set[int] = set()
    for part in value.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        span = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not span:
            raise ValueError(f"{part.strip()!r} is neither an event code nor a range such as 14-19")
        codes.update(span)
    return tuple(sorted(codes))


def _networks(value: Any) -> Any:
    """Networks of a text such as `192.0.2.0/24,2001:db8::/32`; None for an empty one."""
    if not isinstance(value, str) or not value.strip():
        return None if isinstance(value, str) else value
    try:
        return tuple(dict.fromkeys(ip_network(one.strip()) for one in value.split(",")))
    except ValueError as error:
        raise ValueError(f"{error}: networks such as 192.0.2.0/24,198.51.100.0/24 are expected") from None


def _poll_rules(value: str | None) -> str | None:
    split_poll_queues(value) if value else None
    return value


SEVERITIES = ("critical", "warning")
OWNERS = ("terminals", "attendance", "crm", "operations")
OptionalUrl = Annotated[str | None, AfterValidator(_web_address), BeforeValidator(_empty_is_unset)]
Minutes = Annotated[int, Field(ge=1, le=1440), AfterValidator(_divides_a_day)]
WallTime = Annotated[time, BeforeValidator(_wall_time)]
Hours = Annotated[float, Field(ge=0, le=24, allow_inf_nan=False)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_unset)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_unset)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_unset)]


def _variable(name: str, default: Any = ..., **bounds: Any) -> Any:
    return Field(default, validation_alias=name, **bounds)


class Settings(BaseModel):
    """Validated settings. `home` is absolute, `database` may be relative to it; secrets print as asterisks."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, validate_default=True)

    home: Path
    database: Annotated[Path | LakeAddress, BeforeValidator(_store)] = _variable(
        "ZK_PIPELINE_DATABASE", Path("data/attendance.duckdb")
    )
    timezone: Timezone = _variable("ZK_PIPELINE_TIMEZONE", "UTC")
    history_start: Annotated[date, BeforeValidator(_plain_date)] = _variable(
        "ZK_PIPELINE_HISTORY_START", date(2020, 1, 1)
    )
    key_prefix: Annotated[tuple[str, ...], BeforeValidator(_split_key_prefix)] = _variable("ZK_PIPELINE_KEY_PREFIX", ())

    terminal_timeout: float = _variable("ZKTECO_TIMEOUT", 10.0, gt=0, le=3600)
    device_networks: Annotated[tuple[IPv4Network | IPv6Network, ...] | None, BeforeValidator(_networks)] = _variable(
        "DEVICE_NETWORKS", None
    )
    poll_deadline: float = _variable("ZKTECO_POLL_DEADLINE", 300.0, gt=0, le=86400)
    polling_interval_minutes: Minutes = _variable("POLLING_INTERVAL_MINUTES", 15)
    poll_queues: Annotated[OptionalText, AfterValidator(_poll_rules)] = _variable("POLL_QUEUES", None)
    sensor_interval_seconds: int = _variable("SENSOR_INTERVAL_SECONDS", 30, ge=5, le=300)

    work_start: WallTime = _variable("WORK_START_TIME", time(9))
    work_end: WallTime = _variable("WORK_END_TIME", time(18))
    workday_starts_at_set: Annotated[WallTime | None, BeforeValidator(_empty_is_unset)] = _variable(
        "WORKDAY_STARTS_AT", None
    )
    early_clock_in_hours: Hours = _variable("OUTLIER_EARLY_CLOCK_IN_HOURS", 2.0)
    late_clock_in_hours: Hours = _variable("OUTLIER_LATE_CLOCK_IN_HOURS", 2.0)
    early_clock_out_hours: Hours = _variable("OUTLIER_EARLY_CLOCK_OUT_HOURS", 2.0)
    late_clock_out_hours: Hours = _variable("OUTLIER_LATE_CLOCK_OUT_HOURS", 3.0)
    debounce_seconds: int = _variable("DEBOUNCE_SECONDS", 60, ge=0, le=3600)

    crm_api_url: OptionalText = _variable("CRM_API_URL", None)
    crm_api_token: OptionalSecret = _variable("CRM_API_TOKEN", None)
    crm_api_token_file: OptionalPath = _variable("CRM_API_TOKEN_FILE", None)
    crm_ca_bundle: OptionalPath = _variable("CRM_CA_BUNDLE", None)
    crm_auth_scheme: str = _variable("CRM_AUTH_SCHEME", "Token", pattern=r"^[A-Za-z][A-Za-z0-9._~+-]*$")
    crm_request_timeout: float = _variable("CRM_REQUEST_TIMEOUT", 30.0, gt=0, le=3600)
    crm_max_retries: int = _variable("CRM_MAX_RETRIES", 3, ge=1, le=100)
    crm_outage_patience: float = _variable("CRM_OUTAGE_PATIENCE", 600.0, ge=0, le=86_400)
    crm_concurrency: int = _variable("CRM_CONCURRENCY", 8, ge=1, le=128)
    crm_batch_size: int = _variable("CRM_BATCH_SIZE", 1, ge=1, le=1000)
    crm_record_per: Literal["person", "site"] = _variable("CRM_RECORD_PER", "person")
    crm_sync_interval_minutes: Minutes = _variable("CRM_SYNC_INTERVAL_MINUTES", 30)
    crm_mapping_file: OptionalPath = _variable("CRM_MAPPING_FILE", None)
    crm_probe_path: Annotated[str | None, BeforeValidator(_empty_is_unset)] = _variable(
        "CRM_PROBE_PATH", None, pattern=r"^/[^\s#]*$"
    )
    crm_lookup: OptionalText = _variable("CRM_LOOKUP", None)
    crm_allow_insecure_http: bool = _variable("CRM_ALLOW_INSECURE_HTTP", False)

    payroll_profiles_file: OptionalPath = _variable("PAYROLL_PROFILES_FILE", None)

    alert_urls: Annotated[SecretStr | None, AfterValidator(_known_routes), BeforeValidator(_empty_is_unset)] = (
        _variable("ALERT_URLS", None)
    )
    alert_reminder_hours: float = _variable("ALERT_REMINDER_HOURS", 24.0, ge=0, le=8760, allow_inf_nan=False)
    ui_url: OptionalUrl = _variable("ZK_PIPELINE_UI_URL", None)
    ui_login_required: bool = _variable("UI_LOGIN_REQUIRED", False)
    admin_url: OptionalUrl = _variable("ZK_PIPELINE_ADMIN_URL", None)
    docs_url: OptionalUrl = _variable("ZK_PIPELINE_DOCS_URL", None)
    api_tokens_required: bool = _variable("API_TOKENS_REQUIRED", True)
    api_allow_insecure_http: bool = _variable("API_ALLOW_INSECURE_HTTP", False)
    receiver_enabled: bool = _variable("RECEIVER_ENABLED", False)
    receiver_host: str = _variable("RECEIVER_HOST", "127.0.0.1", pattern=r"^[0-9A-Za-z.:-]+$")
    receiver_port: int = _variable("RECEIVER_PORT", 8081, ge=1, le=65535)
    receiver_punch_events: Annotated[tuple[int, ...] | None, BeforeValidator(_event_codes)] = _variable(
        "RECEIVER_PUNCH_EVENTS", None
    )
    raw_retention_days: int = _variable("RAW_RETENTION_DAYS", 0, ge=0, le=36500)
    quarantine_retention_days: int = _variable("QUARANTINE_RETENTION_DAYS", 0, ge=0, le=36500)
    publish_snapshot: OptionalPath = _variable("PUBLISH_SNAPSHOT", None)
    run_retention_days: int = _variable("RUN_RETENTION_DAYS", 90, ge=0, le=36500)

    @model_validator(mode="after")
    def _snapshot_is_a_file_of_its_own(self) -> Settings:
        snapshot = self.snapshot_path
        if snapshot is not None and (not snapshot.suffix or snapshot.is_dir()):
            raise ValueError("PUBLISH_SNAPSHOT: must be a file with an ending, such as published/attendance.duckdb")
        if snapshot is not None and isinstance(self.database, LakeAddress):
            raise ValueError("PUBLISH_SNAPSHOT: only a store that is a file is published; analysts read a shared one")
        if snapshot is not None and snapshot.resolve() == self.database_path.resolve():
            raise ValueError("PUBLISH_SNAPSHOT: is the store itself; name another file")
        return self

    @model_validator(mode="after")
    def _login_needs_tokens(self) -> Settings:
        if self.ui_login_required and not self.api_tokens_required:
            raise ValueError("UI_LOGIN_REQUIRED: a login needs tokens; leave API_TOKENS_REQUIRED at true")
        return self

    @model_validator(mode="after")
    def _shift_has_a_length(self) -> Settings:
        if self.work_start == self.work_end:
            raise ValueError("WORK_END_TIME: must differ from WORK_START_TIME")
        return self

    @model_validator(mode="after")
    def _queues_have_one_pipeline(self) -> Settings:
        if self.poll_queues and self.key_prefix:
            raise ValueError("POLL_QUEUES: works in a code location of its own only, without ZK_PIPELINE_KEY_PREFIX")
        return self

    @property
    def workday_starts_at(self) -> time:
        """Start of a work date: midnight, or for an overnight shift the middle of the time off."""
        if self.workday_starts_at_set is not None:
            return self.workday_starts_at_set
        if self.work_start < self.work_end:
            return time(0)
        day = datetime(2000, 1, 1)  # noqa: DTZ001 (wall-clock arithmetic on an arbitrary day)
        end, start = datetime.combine(day, self.work_end), datetime.combine(day, self.work_start)
        middle = end + (start - end) / 2
        return (middle - timedelta(seconds=middle.second)).time()

    @property
    def poll_rules(self) -> dict[str, str] | None:
        """Site → queue whose workers poll its terminals; None if this host polls all of them in one run."""
        return split_poll_queues(self.poll_queues) if self.poll_queues else None

    @property
    def terminal_locks(self) -> Path:
        """Folder of the device locks: one connection per terminal, over all processes of this home."""
        return self.home / "data" / "terminal-locks"

    @property
    def crm_mapping_path(self) -> Path | None:
        """The file of CRM_MAPPING_FILE, else crm_mapping.yaml in the home; None if there is neither."""
        if self.crm_mapping_file is not None:
            return self.home / self.crm_mapping_file
        usual = self.home / "crm_mapping.yaml"
        return usual if usual.exists() else None

    @property
    def payroll_profiles_path(self) -> Path | None:
        """The file of PAYROLL_PROFILES_FILE, else payroll_profiles.yaml in the home; None if there is neither."""
        if self.payroll_profiles_file is not None:
            return self.home / self.payroll_profiles_file
        usual = self.home / "payroll_profiles.yaml"
        return usual if usual.exists() else None

    @property
    def store(self) -> Path | LakeAddress:
        """Path of the store's file, or address of a shared store."""
        return self.database.below(self.home) if isinstance(self.database, LakeAddress) else self.home / self.database

    @property
    def backups_path(self) -> Path:
        """Default folder of backups."""
        return self.home / "backups"

    @property
    def database_path(self) -> Path:
        """Path of the store's file; for a shared store, path prefix of this host's files about it."""
        return self.store.side if isinstance(self.store, LakeAddress) else self.store

    @property
    def snapshot_path(self) -> Path | None:
        """Path of the published copy for analysts; None if none is published."""
        return None if self.publish_snapshot is None else self.home / self.publish_snapshot.expanduser()


_EXPORTED_ONLY = {"ZK_PIPELINE_HOME", "DAGSTER_HOME"}
VARIABLES = {
    str(field.validation_alias): name for name, field in Settings.model_fields.items() if field.validation_alias
}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ` (the process's own by default) over `.env` in the home.

    Raises UsageError with one line: the variable, its origin and what is wrong.
    """
    environ = os.environ if environ is None else environ
    home = find_home(environ)
    prepare_home(home)
    from_file = read_env_file(home / ".env")
    return parse_settings(home, {**from_file, **environ}, lambda name: "exported" if name in environ else in_file(home))


def parse_settings(home: Path, variables: Mapping[str, str], origin: Callable[[str], str]) -> Settings:
    """Settings from variables; others than those of VARIABLES are ignored. `origin`: where a variable is set.

    Raises UsageError with one line: the variable, its origin and what is wrong.
    """
    values: dict[str, Any] = {k: v for k, v in variables.items() if k in VARIABLES}
    try:
        return Settings(home=home, **values)
    except ValidationError as error:
        raise UsageError(_one_line(error, values, origin)) from None


def in_file(home: Path) -> str:
    """Origin of a variable that the `.env` of a home sets."""
    return f"in {home / '.env'}"


def read_variable(name: str, home: Path, environ: Mapping[str, str] | None = None) -> str | None:
    """The value of any variable, such as a terminal's comm key, by the same precedence; None if unset."""
    environ = os.environ if environ is None else environ
    return environ[name] if name in environ else read_env_file(home / ".env").get(name)


def read_env_file(path: Path) -> dict[str, str]:
    """Name → value of a `.env` file; empty without the file.

    Raises UsageError for a line that is not an assignment, a misspelt variable name, and the home itself.
    """
    if not path.is_file():
        return {}
    values: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path}: cannot be read: it is not text in UTF-8") from None
    for binding in bindings:
        line = binding.original.line
        if binding.error or (binding.key is not None and binding.value is None):
            raise UsageError(f"{path}, line {line}: not of the form NAME=value")
        if binding.key is None or binding.value is None:
            continue
        if binding.key in _EXPORTED_ONLY:
            raise UsageError(f"{path}, line {line}: {binding.key} decides where this file is read from: export it")
        near = difflib.get_close_matches(binding.key, VARIABLES, n=1, cutoff=0.9)
        if near and binding.key not in VARIABLES:
            raise UsageError(f"{path}, line {line}: unknown variable {binding.key}; did you mean {near[0]}?")
        values[binding.key] = binding.value
    return values


def _one_line(error: ValidationError, values: Mapping[str, Any], origin: Callable[[str], str]) -> str:
    first = error.errors(include_url=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    if first["loc"]:
        variable = str(first["loc"][0])
    else:  # a rule over several variables names the one to change
        variable, _, reason = reason.partition(": ")
    if variable not in values:
        return f"{variable}: {reason}"
    field = Settings.model_fields[VARIABLES[variable]]
    is_secret = "Secret" in str(field.annotation) or str(values[variable]).strip().startswith("ducklake:")
    shown = "" if is_secret else f"={values[variable]!r}"
    return f"{variable}{shown} ({origin(variable)}): {reason[0].lower()}{reason[1:]}"
