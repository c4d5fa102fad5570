"""A small base model that has learned twelve photographs: the script that trains it, its weights, its figures."""
