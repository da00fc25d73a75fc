"""From inputs to tokens: a tokenizer a modality, and which tokens are seen."""
