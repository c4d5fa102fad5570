"""The verbs: command line, engine, verification, runs, tunnels."""
