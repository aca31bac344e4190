"""Integrity rules, the doctor's findings, repairs, and the state of alerts."""
