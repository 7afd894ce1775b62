"""One embedding space for what a robot sees, what it is told and what it does."""

__version__ = "0.1.0"
