"""What experiments keep and say: rows on disk, computed side by side, their intervals and claims."""
