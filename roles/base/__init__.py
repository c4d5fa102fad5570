"""Base role: packages, users, folders, disk space and uv are there before anything else is installed."""
