"""Vehicles on lanes."""
