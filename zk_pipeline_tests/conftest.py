"""Places to work in: an empty store, a home, terminals and a CRM; what is slow to make is made once and copied."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from ctypes.util import find_library
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _duckdb
import duckdb
import pytest

from zk_pipeline.beta_warnings import SUPPRESSED_WARNINGS
from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.config.settings import VARIABLES, load_settings
from zk_pipeline.http import run_workers
from zk_pipeline.runtime.interpreter import collect_garbage_rarely
from zk_pipeline.runtime.private_files import keep_files_private
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.attacks import ATTACK, attack_lines
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS, CRM_OUTCOME, CRM_WRONG
from zk_pipeline_tests.devices.matrix.matrix_judge import OUTCOME, WRONG
from zk_pipeline_tests.distribution import LongestFirst, sort_items
from zk_pipeline_tests.engines import ENGINES, chosen, empty_store, end_lakes, lakes, lakes_dropped, on_engine
from zk_pipeline_tests.fast import is_ignored, mark_fast
from zk_pipeline_tests.gates import MONDAY, WEDNESDAY, gate, present, switch_on
from zk_pipeline_tests.kept_open import keeps_open, stores_kept_open
from zk_pipeline_tests.made_once import made_once
from zk_pipeline_tests.memory_folder import use_memory_folder
from zk_pipeline_tests.operations.history_oracle import HISTORY_COUNTS
from zk_pipeline_tests.postgres import NoPostgres, Postgres
from zk_pipeline_tests.redis_server import NoRedis, redis_server
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied, store_at
from zk_pipeline_tests.tasks import write_tasks

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from xdist.remote import Producer

CRM_TOKEN = "token-that-must-stay-secret"


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are cores, since many tests wait for a daemon, a timeout or a browser."""
    return (os.cpu_count() or 2) * 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongestFirst | None:
    """The order of `distribution`, unless another `--dist` is asked for."""
    return LongestFirst(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return is_ignored(collection_path, config) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    sort_items(items)
    mark_fast(items)


def pytest_collection_finish() -> None:
    gc.freeze()  # what the collection has imported stays


def pytest_configure(config: pytest.Config) -> None:
    """Signals and warnings as a user's own start of the product has them, whatever started pytest and however."""
    collect_garbage_rarely()
    keep_files_private()
    run_workers.NICENESS = 0  # other tests would take the CPU from the runs
    if importlib.util.find_spec("geopandas") is None:
        sys.modules["geopandas"] = None  # type: ignore[assignment]  # pandera searches it for each column of a frame
    # Hundreds of processes would otherwise each compile the whole package, and each worker rewrite all assertions.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if config.option.markexpr != "stress":  # full-size stores may need more than there is
        use_memory_folder()
        use_cheap_duckdb_instances()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; its children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # pytest sets its own warning filters; the warnings that the product suppresses are suppressed here, too.
    for words in SUPPRESSED_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{words}")
    chosen.engine = config.getoption("--engine")
    use_jemalloc(config)


def use_jemalloc(config: pytest.Config) -> None:
    """Let the workers allocate memory by jemalloc where it is installed: DuckDB plans queries with 12 % less CPU time.

    Only they: what the tests start is started as by a user.
    """
    library = find_library("jemalloc")
    if hasattr(config, "workerinput"):
        os.environ.pop("LD_PRELOAD", None)
    elif library is not None:
        os.environ["LD_PRELOAD"] = library


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "the engine that the stores of these tests are on"
    parser.addoption("--engine", choices=ENGINES, default="file", help=words)
    words = "open and close stores for each operation in all tests, as the product does"
    parser.addoption("--closed-stores", action="store_true", help=words)


def use_cheap_duckdb_instances() -> None:
    """Let DuckDB run the queries of this process in one thread: over small tables, two cost 40 % more CPU time.

    It loads the extensions of a lake without checking their signatures (0.3 s of CPU time); child processes check them.
    """
    connect = duckdb.connect
    cheap = {"threads": 1, "allow_unsigned_extensions": True}

    def connect_cheaply(*arguments: Any, config: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return connect(*arguments, config={**cheap, **(config or {})}, **options)  # type: ignore[misc]

    duckdb.connect = connect_cheaply


@pytest.fixture
def _all_duckdb_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as DuckDB takes by itself."""
    monkeypatch.setattr(duckdb, "connect", _duckdb.connect)


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """A real PostgreSQL server, one for each process of tests; skipped with the reason where there is none."""
    try:
        return lakes().server
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a real Redis, one for each process of tests; skipped with the reason where there is none."""
    try:
        with redis_server() as url:
            yield url
    except NoRedis as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine of the stores: that of `--engine`; both, one after the other, for tests marked `both_engines`."""
    name = getattr(request, "param", None) or str(request.config.getoption("--engine"))
    if name != "file":
        request.getfixturevalue("postgres")
    with on_engine(name):
        yield name


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    both = metafunc.definition.get_closest_marker("both_engines")
    if both and metafunc.config.getoption("--engine") == "file":
        marks = [getattr(pytest.mark, name) for name in both.args]
        metafunc.parametrize("engine", ["file", pytest.param("ducklake", marks=marks)], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before fixtures of the module make stores on the other engine."""
    if item.config.getoption("--engine") != "file" and item.get_closest_marker("file_engine"):
        pytest.skip("about the file itself")


@pytest.fixture(autouse=True)
def _lakes_of_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    name = request.getfixturevalue("engine") if "engine" in request.fixturenames else None
    name = name or request.config.getoption("--engine")
    if name != "file" and request.node.get_closest_marker("file_engine"):
        pytest.skip("about the file itself")
    with on_engine(name), lakes_dropped():
        yield


@pytest.fixture(scope="session")
def empty_stores() -> dict[str, Where]:
    """Engine → an empty store, kept while tests alternate between the engines."""
    return {}


@pytest.fixture(scope="session")
def empty_store_file(tmp_path_factory: pytest.TempPathFactory, engine: str, empty_stores: dict[str, Where]) -> Where:
    if engine not in empty_stores:
        empty_stores[engine] = _empty_store(tmp_path_factory) if engine == "file" else _empty_lake(tmp_path_factory)
    return empty_stores[engine]


def _empty_store(factory: pytest.TempPathFactory) -> Path:
    return made_once(factory, "empty-store", lambda folder: empty_store(folder / "store.duckdb")) / "store.duckdb"


def _empty_lake(factory: pytest.TempPathFactory) -> Where:
    return empty_store(factory.mktemp("template") / "store.duckdb")


@pytest.fixture(scope="session")
def empty_lake(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, empty_stores: dict[str, Where]) -> Where:  # noqa: ARG001
    """The empty store of the shared engine, for tests that name it themselves."""
    if "ducklake" not in empty_stores:
        with on_engine("ducklake"):
            empty_stores["ducklake"] = _empty_lake(tmp_path_factory)
    return empty_stores["ducklake"]


@pytest.fixture
def lake(empty_lake: LakeAddress, tmp_path: Path) -> LakeAddress:
    """An empty lake of its own for each test."""
    return lakes().copy(empty_lake, tmp_path)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(empty_store_file: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(empty_store_file, tmp_path, clock)


@pytest.fixture(autouse=True)
def _stores_kept_open(request: pytest.FixtureRequest) -> Iterator[None]:
    temporary = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    with stores_kept_open(temporary) if keeps_open(request.node) else nullcontext():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Keep stores open also while a fixture of a module fills them; its tests find them closed."""
    is_template = fixturedef.scope == "module" and keeps_open(request.node)
    with stores_kept_open() if is_template else nullcontext():
        return (yield)


def pytest_unconfigure() -> None:
    end_lakes()


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty store and an empty Dagster instance."""
    load_migrations_once()
    reuse_sqlite_engines()
    return made_once(tmp_path_factory, "empty-home", _fill_home)


def _fill_home(home: Path) -> None:
    import dagster as dg  # only for those who need it: two seconds

    shutil.copyfile(Path(__file__).parents[1] / "dagster.yaml", home / "dagster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as instance:
            assert instance.get_runs_count() == 0
            assert instance.all_instigator_state() == []
    (home / "data").mkdir()
    assert store_at(home / "data" / "attendance.duckdb").devices.all() == []


def load_migrations_once() -> None:
    """Let alembic read Dagster's ninety migrations once per process, not at each opening of a storage and each run."""
    from alembic.script import ScriptDirectory

    ScriptDirectory.from_config = cache(ScriptDirectory.from_config)  # type: ignore[method-assign]


def reuse_sqlite_engines() -> None:
    """Let Dagster's storages use one SQLAlchemy engine per file, not one per connection, which compiles each statement.

    The engines have no pool: each connection is opened and closed as ever.
    """
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    @lru_cache(maxsize=64)
    def engine(url: str, arguments: frozenset[tuple[str, int]]) -> Engine:
        return create_engine(url, poolclass=NullPool, connect_args=dict(arguments))

    def create(url: str, *, poolclass: type[NullPool], connect_args: Mapping[str, int] | None = None) -> Engine:
        assert poolclass is NullPool
        return engine(url, frozenset((connect_args or {}).items()))

    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = create  # type: ignore[attr-defined]


@pytest.fixture
def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of a home that does not exist yet; the environment has no other variable of the project."""
    for name in (*VARIABLES, "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # so that what a command exports is taken back, too
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("ZK_PIPELINE_HOME", str(home))
    return home


@pytest.fixture
def home(bare_home: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty store and an empty Dagster instance, exported."""
    shutil.copytree(empty_home, bare_home)
    monkeypatch.setenv("DAGSTER_HOME", str(bare_home))
    return bare_home


@contextmanager
def exported(home: Path) -> Iterator[pytest.MonkeyPatch]:
    """The environment with `home` as home and no other variable of the project."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("ZK_PIPELINE_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home))
        yield patch


@pytest.fixture(scope="session")
def processed_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after a poll of two terminals and a run of processing; no delivery sent.

    1001 was present on Monday and Wednesday, 1002 on Monday. The terminals are switched off.
    """
    return (
        made_once(tmp_path_factory, "processed", lambda folder: _fill_processed(folder / "home", empty_home)) / "home"
    )


def _fill_processed(home: Path, empty_home: Path) -> None:
    from zk_pipeline.defs.partitions import DateRange  # imports Dagster
    from zk_pipeline.runs.launcher import open_launcher

    shutil.copytree(empty_home, home)
    with exported(home), Fleet() as fleet:
        terminals = gate("North", *present(MONDAY), *present(WEDNESDAY)), gate("South", *present(MONDAY, "1002"))
        names = switch_on(fleet, Store.at(home / "data" / "attendance.duckdb"), *terminals)
        with open_launcher(load_settings()) as launcher:
            (polled,) = launcher.poll(names, names)
            made = launcher.process(DateRange(MONDAY, WEDNESDAY))
        assert (polled.failure, made.failure) == (None, None)


@pytest.fixture
def processed(home: Path, processed_home: Path) -> None:
    """`home` as a copy of `processed_home`."""
    shutil.rmtree(home)
    shutil.copytree(processed_home, home)


@pytest.fixture
def home_store(home: Path) -> Store:
    """The store of `home`, with true time."""
    return Store.at(home / "data" / "attendance.duckdb")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as fleet:
        yield fleet


@pytest.fixture
def crm(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrmReceiver]:  # noqa: ARG001 (clears the variables)
    """A CRM that the settings of `home` name."""
    with CrmReceiver(token=CRM_TOKEN) as receiver:
        monkeypatch.setenv("CRM_API_URL", receiver.url)
        monkeypatch.setenv("CRM_API_TOKEN", CRM_TOKEN)
        yield receiver


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the fault matrices of terminals and CRM counted, by row, and what the long tests saw."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    attacks: list[tuple[str, bool]] = []
    histories: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, outcome in getattr(report, "user_properties", ()):
                if name == ATTACK and (report.when == "call" or report.failed):
                    attacks.append((_sentence(outcome), report.passed))
                elif name == HISTORY_COUNTS and report.when == "call":
                    histories.update(outcome)
                elif report.when == "call":
                    found[name][report.nodeid.partition("::")[2].partition("[")[0]][outcome] += 1
    write_tasks(terminalreporter)
    if attacks:
        terminalreporter.section(ATTACK)
    for line in attack_lines(attacks):
        terminalreporter.write_line(line)
    if histories:
        terminalreporter.section(HISTORY_COUNTS)
        terminalreporter.write_line(", ".join(f"{count:,} {what}" for what, count in histories.most_common()))
    for matrix, wrong in ((OUTCOME, WRONG), (CRM_OUTCOME, CRM_WRONG)):
        _write_matrix(terminalreporter, matrix, wrong, found[matrix])
    for row, counts in found[CRM_COUNTS].items():
        terminalreporter.section("delivery under fire")
        for line in counts:
            terminalreporter.write_line(f"{_sentence(row)}: {line}")


def _write_matrix(
    terminalreporter: pytest.TerminalReporter, matrix: str, wrong: str, rows: dict[str, Counter[str]]
) -> None:
    total = sum(rows.values(), Counter())
    if not total:
        return
    terminalreporter.section(matrix)
    for row, outcomes in sorted(rows.items()):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        terminalreporter.write_line(f"{_sentence(row)}: {counts}")
    terminalreporter.write_line(f"{total.total()} cases, {total[wrong]} {wrong}")


def _sentence(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ")
