"""The camera: what it sees of the world, from light to a picture."""
