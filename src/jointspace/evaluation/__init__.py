"""Measuring a joint space: retrieval, alignment and the report. NumPy only, never torch."""
