"""The experiments: one file for a table or figure, the only place of `jepa` that may run the simulator."""
