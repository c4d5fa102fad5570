"""One folder a role: config.py (typed settings), tasks.py (operations), verify.py (facts that must then hold)."""
