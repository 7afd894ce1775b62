"""Robot data, the one way in: reading, decoding, windows, splits, normalisation, and batches."""
