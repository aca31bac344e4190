"""Supervisor of the processes of `zk-pipeline up`: those of Dagster, and the receiver. If one ends, all end."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from zk_pipeline.config.settings import read_variable
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.fork_server import ONE_THREAD
from zk_pipeline.runtime.processes import check_for_end, start_child, terminate

_UI_URL = "ZK_PIPELINE_UI_URL"
_DAGSTER = "dagster-processes"
_START_TIMEOUT_SECONDS = 120.0
_MAX_FOLDER_LENGTH = 90  # the path of a Unix socket has at most 107 characters
LOCK_FILE = ".zk-pipeline.lock"
ENDED_FILE = "ended"  # in the run folder: name and exit code of the one of Dagster's processes that has ended


@dataclass
class Supervisor:
    """The processes of one home, started within `single_instance`. Leaving the context ends them in reverse order."""

    home: Path
    environ: Mapping[str, str]
    port: int
    logs: Path | None = None  # None: their output goes to the output of this process
    receiver: tuple[str, int] | None = None  # address of the receiver for terminals that push; None: none is started
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _exits: ExitStack = field(default_factory=ExitStack)
    _folder: Path | None = None

    def __enter__(self) -> Supervisor:
        check_port_is_free(self.port)
        if self.receiver is not None:
            check_receiver_port(*self.receiver)
        try:
            self._folder = self._run_folder()
            self._start_all(self._folder)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def check(self) -> None:
        """Raises ZkPipelineError if one of the processes has ended."""
        for child_name, child in self._children.items():
            if child.poll() is not None:
                name, code = self._ended_part(child_name) or (child_name, child.returncode)
                where = f"; its output is in {self.logs / f'{name}.log'}" if self.logs else ""
                raise ZkPipelineError(f"the {name} ended with code {code}{where}")

    def _ended_part(self, name: str) -> tuple[str, int] | None:
        """Name and exit code of the one of Dagster's processes that made their parent end."""
        with suppress(FileNotFoundError):
            if name == _DAGSTER and self._folder is not None:
                part, code = (self._folder / ENDED_FILE).read_text().split()
                return part, int(code)
        return None

    def _run_folder(self) -> Path:
        """Empty folder for socket and workspace file: in the home, or a temporary one if that path is too long."""
        folder = self.home / ".run"
        if len(str(folder)) > _MAX_FOLDER_LENGTH:
            return Path(self._exits.enter_context(tempfile.TemporaryDirectory(prefix="zk-pipeline-")))
        shutil.rmtree(folder, ignore_errors=True)  # left over from a killed process
        folder.mkdir(mode=0o700)
        self._exits.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _start_all(self, folder: Path) -> None:
        if self.logs is not None:
            self.logs.mkdir(parents=True, exist_ok=True)
        logs = () if self.logs is None else ("--logs", str(self.logs))
        module = "zk_pipeline.server.dagster_processes"
        self._start(
            _DAGSTER,
            [sys.executable, "-m", module, "--folder", str(folder), "--port", str(self.port), *logs],
            end_timeout_seconds=70,  # its processes end one after the other, in at most 20 s each
        )
        if self.receiver is not None:
            host, port = self.receiver
            self._start(
                "receiver", [sys.executable, "-m", "zk_pipeline", "receive", "--host", host, "--port", str(port)]
            )
        self._wait("web server", lambda: webserver_answers(self.port))

    def _start(self, name: str, command: list[str], *, end_timeout_seconds: float = 20.0) -> None:
        output = None if self.logs is None else self.logs / f"{name}.log"
        child = start_child(command, cwd=self.home, environ={**self._environ(), **ONE_THREAD}, output=output)
        self._children[name] = child
        self._exits.callback(terminate, child, timeout_seconds=end_timeout_seconds)

    def _environ(self) -> Mapping[str, str]:
        """Environment of this process, with the default UI address for links unless ZK_PIPELINE_UI_URL is set."""
        configured = read_variable(_UI_URL, self.home, self.environ)
        return self.environ if configured else {**self.environ, _UI_URL: self.url}

    def _wait(self, what: str, ready: object) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not (callable(ready) and ready()):
            check_for_end()
            self.check()
            if time.monotonic() > deadline:
                raise ZkPipelineError(f"the {what} did not answer within {_START_TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.1)


def check_port_is_free(port: int) -> None:
    """Raises UsageError if the loopback port is in use."""
    try:
        _bind("127.0.0.1", port)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}; choose another with --port") from None


def check_receiver_port(host: str, port: int) -> None:
    """Raises UsageError if the receiver cannot listen there."""
    try:
        _bind(host, port)
    except OSError as error:
        raise UsageError(
            f"the receiver cannot listen on {host} port {port}: {error.strerror}; see RECEIVER_HOST and RECEIVER_PORT"
        ) from None


def _bind(host: str, port: int) -> None:
    """Bind a socket and close it."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


@contextmanager
def single_instance(home: Path) -> Iterator[None]:
    """Exclusive lock on the home for one set of processes. Raises UsageError if another process has the lock."""
    path = home / LOCK_FILE
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise UsageError(f"{home} is in use by process {stream.read().strip() or '?'}: end it first") from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def home_lock_holder(home: Path) -> int | None:
    """Process number of the `single_instance` of the home; None if none runs."""
    with suppress(OSError, ValueError), (home / LOCK_FILE).open() as stream:
        pid = int(stream.read())
        os.kill(pid, 0)
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return pid
    return None


def webserver_answers(port: int) -> bool:
    """True once the webserver answers. Raises ZkPipelineError if it does not refuse an unknown host name."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/server_info", headers={"Host": "unknown.invalid"})
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    if status != HTTPStatus.MISDIRECTED_REQUEST:
        raise ZkPipelineError("the webserver does not check host names: this dagster-webserver is not supported")
    return True
