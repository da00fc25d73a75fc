"""The sensors of the site and of the car, one module each."""
