"""How a model comes to be: pretrained by its latents (JEPA) or by reconstruction, or supervised as one."""
