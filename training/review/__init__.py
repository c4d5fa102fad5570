"""Checks of a dataset before training: pictures, captions, sizes, length and cost."""
