"""GPU role: a driver that fits the card and the torch build is installed, kept, held and proven; CPU hosts are fine."""
