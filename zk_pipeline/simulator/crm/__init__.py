"""A simulated CRM: an HTTP server that keeps a ledger of what it was sent, with faults on demand."""
