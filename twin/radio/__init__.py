"""Array response, codebooks, channel and beam sweep."""
