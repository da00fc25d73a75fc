"""Datasets of simulated episodes."""

from twin.generation.dataset import dataset_summary, generate_dataset

__all__ = ["dataset_summary", "generate_dataset"]
