"""JEPA-MSAC: windows, tokens, latents, heads, baselines and their evaluation."""

import os

# Waiting threads sleep instead of spinning: on two cores that somebody else uses as well, training is six times faster.
# It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
