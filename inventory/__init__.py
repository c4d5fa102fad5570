"""The fleet: its typed file, and the pyinfra inventory made from it."""
