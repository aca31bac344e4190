"""Daily attendance: staging, revisions, punch summaries, statistics."""
