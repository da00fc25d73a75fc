"""What experiments write: tables and figures, and the pages that are too long for their experiment."""
