"""The radar: scatterers, their echoes, and the range-angle map."""
