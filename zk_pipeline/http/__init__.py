"""Core of both HTTP faces: authentication, middleware, errors, pagination, streaming, run workers. No routes."""
