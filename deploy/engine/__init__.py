"""One pyinfra run: the process that does it, what it asks and says, and who starts it."""
