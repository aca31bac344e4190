"""Days to requests: payload, client, what an answer means. No dagster, no SQL."""
