"""Mirrors role: git, Python, apt and Hugging Face use the first of the fleet's mirrors that answers."""
