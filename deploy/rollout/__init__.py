"""Update a fleet in waves: a canary first, gates after each wave, and a rollback if a gate fails."""
