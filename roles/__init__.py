"""One folder per role: config.py (typed settings), tasks.py (operations), verify.py (checks of the result)."""
