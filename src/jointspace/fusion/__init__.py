"""Fusion: features of several modalities in, one joint vector out."""
