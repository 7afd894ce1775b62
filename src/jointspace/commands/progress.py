"""The progress bar of the commands; see `jointspace.progress`."""

from jointspace.progress import progress_bar

__all__ = ["progress_bar"]
