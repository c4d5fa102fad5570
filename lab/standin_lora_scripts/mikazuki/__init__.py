"""The GUI's server."""
