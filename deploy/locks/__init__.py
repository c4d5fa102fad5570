"""fleet.lock and the environment locks: look up, pin, and check again."""
