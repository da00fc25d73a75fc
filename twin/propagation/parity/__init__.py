"""Our paths beside those of Sionna RT: scenes, matching, comparison, report. The tables are in `../PARITY.md`."""
