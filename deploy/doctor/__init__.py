"""`sdfleet doctor`: every check a person would make, each good, a warning or bad, with one thing to do about it."""
