"""The race of strategies for one labelled dataset, the search for a depth, and other sources beside the first."""
