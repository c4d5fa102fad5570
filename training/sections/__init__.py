"""The tables of a training config: one file a subject, a sentence a setting. Imports without torch."""
