"""Option of HTTP clients on loopback: `httpx.get(url, verify=NO_CERTIFICATES)`."""

from __future__ import annotations

import ssl

# A client that may use TLS reads all certificates of the machine, 20 ms each time.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
