"""Training runs: send, follow, stop, fetch and publish them."""
