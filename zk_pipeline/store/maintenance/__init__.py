"""Backup, restore, verification, compaction, retention, copying a store to another engine."""
