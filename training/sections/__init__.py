"""The tables of a training config: one file per subject, a sentence per setting. Imports without torch."""
