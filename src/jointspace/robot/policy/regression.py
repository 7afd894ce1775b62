"""Local ridge regression: what neighbours say, corrected for where the query lies among them."""

import numpy as np
from jaxtyping import Float


def local_ridge(
    query: Float[np.ndarray, " dim"],
    rows: Float[np.ndarray, "neighbour dim"],
    targets: Float[np.ndarray, "neighbour target"],
    *,
    distances: Float[np.ndarray, " neighbour"],
    ridge: float = 1.0,
) -> Float[np.ndarray, " target"]:
    """Fits a plane through the neighbours' targets and reads it at the query.

    With a large `ridge` this is the neighbours' weighted mean.

    Args:
        query: the row asked for.
        rows: the neighbours' rows.
        targets: what each is to be predicted as.
        distances: squared, of query and neighbours; nearer ones count more.
        ridge: draws the slopes to zero.

    Returns:
        The prediction.

    Source:
        W. S. Cleveland (1979), locally weighted regression, with a ridge and a Gaussian of the
        median distance as its weights.
    """
    weights = np.exp(-distances / (np.median(distances) + 1e-9))
    weights /= weights.sum()
    centre, mean = weights @ rows, weights @ targets
    offsets = rows - centre
    weighted = offsets * weights[:, None]
    # Of sums, not of means: the more neighbours there are, the less the ridge counts.
    share = ridge / len(rows)
    gram = weighted.T @ offsets + share * np.eye(rows.shape[1])
    slopes = np.linalg.solve(gram, weighted.T @ (targets - mean))
    return mean + (query - centre) @ slopes
