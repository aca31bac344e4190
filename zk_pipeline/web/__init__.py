"""Web admin: server-rendered pages on the same services as the REST API."""
