"""What a training needs of a GPU's memory: counted, estimated, and what would lower it."""
