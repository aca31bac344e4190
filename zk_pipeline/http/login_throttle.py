"""Login throttle: an address with too many invalid tokens is refused for a while."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

_MAX_ADDRESSES = 10_000


@dataclass
class LoginThrottle:
    """Failed logins per network address in a sliding window, in memory; the oldest addresses are dropped first."""

    monotonic: Callable[[], float]
    limit: int = 10
    window_seconds: float = 900.0
    _failures: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seconds_to_wait(self, address: str) -> float:
        """Seconds until the address may try again; 0 if it may now."""
        with self._lock:
            recent = self._recent(_network_of(address))
            if len(recent) < self.limit:
                return 0.0
            return recent[0] + self.window_seconds - self.monotonic()

    def note_failure(self, address: str) -> None:
        network = _network_of(address)
        with self._lock:
            recent = self._recent(network)
            recent.append(self.monotonic())
            self._failures[network] = recent
            self._failures.move_to_end(network)
            while len(self._failures) > _MAX_ADDRESSES:
                self._failures.popitem(last=False)

    def _recent(self, network: str) -> deque[float]:
        recent = self._failures.get(network, deque(maxlen=self.limit))
        while recent and recent[0] <= self.monotonic() - self.window_seconds:
            recent.popleft()
        return recent


def _network_of(address: str) -> str:
    """The /64 network of an IPv6 address, since one host has a whole /64; any other address unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
