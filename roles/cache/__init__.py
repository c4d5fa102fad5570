"""Cache role: one host fetches from upstream once for the whole fleet, and gives its own models to the others."""
