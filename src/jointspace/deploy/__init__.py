"""Running a trained joint space where it is needed. NumPy only, never torch."""
