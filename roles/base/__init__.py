"""Base role: packages, users, folders, disk space and uv, before anything else is installed."""
