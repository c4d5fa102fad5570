"""Mirrors role: git, Python, apt and Hugging Face traffic goes over the first of the fleet's mirrors that answers."""
