"""Numbers that tell before anything is trained: scores of features, distances of datasets, ranked sources."""
