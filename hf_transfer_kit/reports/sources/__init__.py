"""What other pretrained networks reached."""
