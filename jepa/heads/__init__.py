"""The heads on frozen latents: what they are, where they start from, how they are trained."""
