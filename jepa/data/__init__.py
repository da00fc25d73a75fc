"""From recordings to what is trained on: frames, windows of them, splits, normalised inputs."""
