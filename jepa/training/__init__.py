"""The one training loop, its batches, its processes and its checkpoints."""
