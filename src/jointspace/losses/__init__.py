"""Losses over embeddings and row ids; they know no model."""
