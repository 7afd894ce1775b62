"""Joint models: towers projected into one space; how to build, store and use them."""
