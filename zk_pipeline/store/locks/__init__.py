"""Locks between processes: the store's file lock, the sync lock, and statistics of waiting and holding."""
