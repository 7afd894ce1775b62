"""Towers: one modality in, tokens and one pooled vector out."""
