"""JEPA-MSAC: windows, tokens, latents, heads, baselines and their evaluation."""
