"""The dashboard: replays a drive with prediction against truth."""
