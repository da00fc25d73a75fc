"""The LiDAR: rays, what comes back of them, and the depth image."""
