"""Receiver for terminals that push over HTTP (ADMS, iclock): an ASGI application on the store."""
