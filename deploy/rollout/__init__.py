"""Updating a fleet in waves: a canary first, gates after each wave, and back to the old release where one is shut."""
