"""How this machine reaches a host: SSH, keys, the host's lock, and what is remembered of it."""
