"""What experiments on real sites, or on twins that stand in for them, share."""
