"""An emulated CRM: an HTTP server with a ledger of the records it has applied, and faults on demand."""
