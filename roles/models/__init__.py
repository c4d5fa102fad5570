"""Models role: the manifest's files are verified, in the store, and linked into the applications' folders."""
