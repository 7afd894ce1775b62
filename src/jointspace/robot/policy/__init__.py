"""The retrieval policy: what is seen, told and felt, looked up among demonstrations. No torch."""
