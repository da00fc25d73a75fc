"""What things look like to camera and LiDAR: kinds of surfaces, the plan of the ground, the fronts of buildings."""
