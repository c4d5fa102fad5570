"""LoRA networks and their files: building, exporting, reading, extracting, merging, resizing."""
