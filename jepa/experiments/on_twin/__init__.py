"""What experiments on the twin's recordings share."""
