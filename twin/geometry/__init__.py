"""Coordinates, boxes, meshes and ray casting."""
