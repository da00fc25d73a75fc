"""Classes of road users and their sizes."""

__all__ = ["MOTOR_CLASSES", "VEHICLE_CLASSES"]

VEHICLE_CLASSES: dict[str, tuple[float, float, float]] = {
    "car": (4.6, 1.8, 1.5),
    "van": (5.4, 2.0, 2.3),
    "bus": (12.0, 2.55, 3.1),
    "truck": (9.0, 2.5, 3.6),
    "cyclist": (1.8, 0.6, 1.75),
    "pedestrian": (0.5, 0.6, 1.75),
}
"""Length, width and height [m]; cars and buses as in 3GPP TR 37.885, table 6.1.2-1 (types 2 and 3), rounded."""
MOTOR_CLASSES = ("car", "van", "bus", "truck")
"""Those that drive in the lanes, in the order of `VEHICLE_CLASSES`, which begins with them."""
