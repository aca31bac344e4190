"""An emulated CRM over HTTP(S), for the demo, the tests and users' own CI: start and stop.

Requests are handled in `application`; injected faults are in `faults`.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from zk_pipeline.simulator.crm.application import CrmApplication
from zk_pipeline.simulator.crm.faults import FaultRule, no_fault
from zk_pipeline.simulator.crm.http import PATH, CrmServer
from zk_pipeline.simulator.crm.ledger import CrmLedger


class CrmReceiver(CrmApplication):
    """A CRM on `host`:`port` (0: any free port), serving in threads between `start` and `close`, or in `with`.

    POST accepts a record, or an array of records each with its `idempotency_key`. The first use of a key applies the
    record and answers 201; the same key again answers 200 with `Idempotent-Replay: true` and applies nothing; 409 while
    the first request is in progress; 422 with another body. An array is answered 207 with `results`, one for each
    record. Invalid records are answered 400 with a message, users in `unknown_users` 422. Every request requires
    `Authorization: <scheme> <token>`.
    """

    def __init__(
        self,
        *,
        token: str,
        scheme: str = "Token",
        host: str = "127.0.0.1",
        port: int = 0,
        tls: tuple[Path, Path] | None = None,  # certificate chain and key, PEM files
        ledger_path: Path | None = None,
        fault_rule: FaultRule = no_fault,
        unknown_users: Collection[str] = (),
    ) -> None:
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        super().__init__(
            token=token,
            scheme=scheme,
            ledger=CrmLedger(ledger_path),
            fault_rule=fault_rule,
            unknown_users=unknown_users,
        )
        self._server = CrmServer((host, port), app=self, context=context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="crm-receiver")

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        scheme = "http" if self._server.context is None else "https"
        return f"{scheme}://{self._server.server_address[0]!s}:{self.port}{PATH}"

    @property
    def connections(self) -> int:
        """Number of connections accepted."""
        return self._server.accepted

    def start(self) -> CrmReceiver:
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving, cut all connections, and wait for every thread."""
        self.stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.cut_connections()
        self._server.server_close()
        self.ledger.close()

    def __enter__(self) -> CrmReceiver:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
