"""The base model: told apart by its tensors, loaded through diffusers and transformers, without a network."""
