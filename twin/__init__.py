"""Digital twin of a roadside millimetre-wave site: traffic, rays, beam sweeps, sensors, recordings."""
