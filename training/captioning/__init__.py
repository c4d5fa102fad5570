"""Captions made by a model: a sentence (BLIP) or tags (WD14 taggers), written beside the pictures."""
