"""Cache role: one host downloads once for the whole fleet, and shares its own models with the others."""
