"""A robot that sees, listens and acts: decisions as pure functions, and shells around them."""
