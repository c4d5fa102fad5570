"""A careful look at a dataset before it is trained on: pictures, captions, sizes, length and cost."""
