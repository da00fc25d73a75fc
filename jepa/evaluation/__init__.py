"""Predictions, what they are worth, and how many directions the latents use."""
