"""The receiver of django-fingerprint-attendance in a process of its own: the independent partner of the emulator.

`python -m zk_pipeline_tests.simulator.push.independent_receiver FOLDER` creates FOLDER/receiver.sqlite3, serves on a
free port of loopback, and prints the port. One thread answers one request after the other: with several, SQLite
answered some uploads with "database is locked".
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from zk_pipeline_tests.waiting import child

DATABASE = "receiver.sqlite3"
_NEEDS_APPROVAL = "--needs-approval"
_CHILD = "from zk_pipeline_tests.simulator.push.independent_receiver import main; main()"


class IndependentReceiver:
    """A running receiver: its address, its process and its rows."""

    def __init__(self, port: int, pid: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pid = pid
        self._database = folder / DATABASE

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query; tables begin with `fingerprint_attendance_`."""
        with closing(sqlite3.connect(self._database, timeout=20)) as connection, connection:
            return connection.execute(sql, parameters).fetchall()

    def punches(self, serial_number: str) -> list[tuple[str, str]]:
        """PIN and local time as sent of each stored punch, in the order of their times."""
        return self.rows(
            "SELECT p.raw_pin, p.device_local_time FROM fingerprint_attendance_punch p"
            " JOIN fingerprint_attendance_device d ON d.id = p.device_id WHERE d.serial_number = ?"
            " ORDER BY p.punched_at, p.raw_pin",
            serial_number,
        )

    def approve(self, serial_number: str) -> None:
        self.rows("UPDATE fingerprint_attendance_device SET status = 'active' WHERE serial_number = ?", serial_number)


@contextmanager
def independent_receiver(folder: Path, *, needs_approval: bool = False) -> Iterator[IndependentReceiver]:
    """Start the receiver and stop it at the end."""
    arguments = [str(folder), *([_NEEDS_APPROVAL] if needs_approval else [])]
    with child(_CHILD, *arguments) as process:
        yield IndependentReceiver(int(process.hear()), process.pid, folder)


def configure(folder: Path, *, needs_approval: bool) -> None:
    """Configure Django in this process and create the tables."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="receiver of the tests",
        ALLOWED_HOSTS=["127.0.0.1"],
        USE_TZ=True,
        TIME_ZONE="Africa/Nairobi",
        ROOT_URLCONF="fingerprint_attendance.adms.urls",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework",
            "fingerprint_attendance",
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / DATABASE),
                "CONN_MAX_AGE": None,
                "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
            }
        },
        LOGGING_CONFIG=None,
        FINGERPRINT_ATTENDANCE={"ADMS_REQUIRE_DEVICE_APPROVAL": needs_approval, "ADMS_RATE_LIMIT": None},
    )
    django.setup()
    call_command("migrate", verbosity=0)


def main() -> None:
    folder = Path(sys.argv[1])
    configure(folder, needs_approval=_NEEDS_APPROVAL in sys.argv)
    serve()


def serve() -> None:
    """Answer requests until the process is killed."""
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def address_string(self) -> str:
            return str(self.client_address[0])

    class Server(WSGIServer):
        request_queue_size = 1024

    with make_server("127.0.0.1", 0, get_wsgi_application(), Server, Quiet) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
