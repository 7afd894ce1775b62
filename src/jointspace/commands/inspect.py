"""`jointspace inspect`."""

from jointspace.commands.arguments import Inspect
from jointspace.data.inspect import Inspection, inspect_dataset


def run(arguments: Inspect) -> Inspection:
    """Inspects a data set.

    Returns:
        What is in it, and every disagreement between its metadata and its files.

    Raises:
        DataError: the folder is no data set that can be read.
    """
    return inspect_dataset(arguments.dataset, check_videos=arguments.videos)
