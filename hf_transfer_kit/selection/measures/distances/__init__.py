"""How far two domains are apart: one idea, one file, and what chance gives."""

from hf_transfer_kit.selection.measures.distances.domain_distance import domain_distance
from hf_transfer_kit.selection.measures.distances.registry import DISTANCES, Distance

__all__ = ["DISTANCES", "Distance", "domain_distance"]
