"""From a trained run to a bundle: graphs, precisions, and the proof that nothing was lost."""
