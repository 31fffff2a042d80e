"""A search of the depth to freeze: its report, page and picture."""

from hf_transfer_kit.reports.depth.pictures import depth_picture, save_depth_picture
from hf_transfer_kit.reports.depth.report import depth_report, depth_table

__all__ = [
    "depth_picture",
    "depth_report",
    "depth_table",
    "save_depth_picture",
]
