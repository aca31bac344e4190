"""Terminals that push: their registration, uploads, stamps, commands and comparisons with the store."""
