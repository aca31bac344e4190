"""Database engines: a DuckDB file, or DuckLake with PostgreSQL; connections, reads and writes."""
