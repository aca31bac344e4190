"""The only place that opens the database: lock, migrations, queries. No dagster, no network, no rules of the day."""
