"""What a module costs: parameters, floating-point operations, latency; and what the paper's Table IV prints.

Three ways of counting operations meet in that table:

- `count_flops`, products: 2 x MAC of every matrix product, convolution and attention product that is computed: the true
  figure.
- `count_flops`, others: the rest, which is small: norms, softmax, activations, pools, gates of recurrent cells.
- `profiled_flops`: twice what the profiler `thop` counts. It reproduces what the paper prints for tokenizers, heads and
  baselines. It knows neither attention nor activations, and a norm is 8 operations an element.

The backbone's printed figures are a fourth way, `transformer_flops` of the 43 tokens of a single frame; a prediction
encodes 8 frames of them and predicts on 13, and attention grows with the square.
"""

from jepa.complexity.counted import Flops, count_flops
from jepa.complexity.formulas import FRAME_TOKENS, transformer_flops
from jepa.complexity.latency import REPEATS, WARM_UP, Latency, latency_ms
from jepa.complexity.printed import PAPER, PAPER_DEVICE, PAPER_SOURCE, UNITS, Printed, rounds_to
from jepa.complexity.profiled import profiled_flops

__all__ = [
    "FRAME_TOKENS",
    "PAPER",
    "PAPER_DEVICE",
    "PAPER_SOURCE",
    "REPEATS",
    "UNITS",
    "WARM_UP",
    "Flops",
    "Latency",
    "Printed",
    "count_flops",
    "latency_ms",
    "profiled_flops",
    "rounds_to",
    "transformer_flops",
]
