"""Training runs: sending, following, stopping, fetching and publishing them."""
