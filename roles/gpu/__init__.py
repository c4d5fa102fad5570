"""GPU role: a driver that fits the card and the torch build is installed, kept, held and tested; CPU hosts are fine."""
