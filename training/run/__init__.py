"""Runs: start and end, the record, and reproduction from a record."""
