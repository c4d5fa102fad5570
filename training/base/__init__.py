"""The base model: detected by its tensors, loaded with diffusers and transformers, without a network."""
