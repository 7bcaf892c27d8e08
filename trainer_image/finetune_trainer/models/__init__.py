"""The base model: where it is, how it is loaded, what of it is trained."""
