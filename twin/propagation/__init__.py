"""From a scene and its movers to propagation paths."""
