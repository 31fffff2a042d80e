"""The flags that recipes share, as dataclasses that make what a recipe needs of them."""
