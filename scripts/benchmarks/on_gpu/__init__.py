"""The sections of ``gpu_check.py``: what a GPU must give, each measured by itself."""
