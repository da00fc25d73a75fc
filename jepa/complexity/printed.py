"""The paper's Table IV as it is printed."""

from dataclasses import dataclass

__all__ = ["PAPER", "PAPER_DEVICE", "PAPER_SOURCE", "UNITS", "Printed", "rounds_to"]


@dataclass(frozen=True)
class Printed:
    """A row of the paper's Table IV as it stands there: "0.14 G", not its value, since the digits tell how exact it is.

    Attributes:
        latency_ms: on `PAPER_DEVICE`.
    """

    parameters: str | None
    flops: str | None
    latency_ms: float | None


PAPER_SOURCE = "JEPA-MSAC, Table IV"
PAPER_DEVICE = "NVIDIA L4"
PAPER: dict[str, Printed] = {
    "tokenizer/camera": Printed("4.17 M", "0.83 G", 0.78),  # a frame, D = 128
    "tokenizer/radar": Printed("9.34 K", "7.62 M", 0.06),
    "tokenizer/lidar": Printed("9.34 K", "7.62 M", 0.06),
    "tokenizer/gps": Printed("640", "1.54 K", 0.03),
    "tokenizer/rf": Printed("8.58 K", "17.41 K", 0.03),
    "backbone/64": Printed("0.40 M", "37.60 M", 0.66),  # encoder and predictor
    "backbone/128": Printed("1.59 M", "0.14 G", 0.74),
    "backbone/256": Printed("6.32 M", "0.56 G", 1.22),
    "backbone/512": Printed("25.22 M", "2.19 G", 3.10),
    "target_encoder/128": Printed("0.79 M", None, None),
    "localization/ar": Printed("18", None, 0.07),
    "localization/gru": Printed("26.24 K", "0.35 M", 0.13),
    "localization/transformer": Printed("234.24 K", "3.10 M", 1.08),
    "localization/kalman": Printed("1", None, 0.03),
    "localization/jepa-64": Printed("0.46 M", "4.51 M", 0.11),
    "localization/jepa-128": Printed("0.50 M", "4.71 M", 0.11),
    "localization/jepa-256": Printed("0.56 M", "5.10 M", 0.11),
    "localization/jepa-512": Printed("0.69 M", "5.89 M", 0.11),
    "beam/ar": Printed("4.45 K", "20.48 K", 0.09),
    "beam/gru": Printed("134.75 K", "1.72 M", 0.18),
    "beam/transformer": Printed("242.05 K", "3.17 M", 1.08),
    "beam/m2beamllm": Printed("50.58 M", "29.90 G", 3.00),
    "beam/jepa-64": Printed("1.76 M", "17.64 M", 0.09),
    "beam/jepa-128": Printed("1.79 M", "17.97 M", 0.08),
    "beam/jepa-256": Printed("1.86 M", "18.62 M", 0.08),
    "beam/jepa-512": Printed("1.99 M", "19.93 M", 0.09),
    "rssi/ar": Printed("9", None, 0.09),
    "rssi/gru": Printed("25.79 K", "0.35 M", 0.16),
    "rssi/transformer": Printed("234.05 K", "3.09 M", 1.10),
    "rssi/vision_position": Printed("1.01 M", "121.90 M", 0.62),
    "rssi/jepa-64": Printed("1.83 M", "17.64 M", 0.11),
    "rssi/jepa-128": Printed("1.89 M", "17.97 M", 0.11),
    "rssi/jepa-256": Printed("2.02 M", "18.62 M", 0.11),
    "rssi/jepa-512": Printed("2.29 M", "19.93 M", 0.12),
    "paradigm/reconstruction": Printed("5.00 M", "5.68 G", 12.00),
    "paradigm/reconstruction_decoder": Printed("24.71 M", None, None),
    "paradigm/multitask": Printed("10.77 M", "47.85 G", 24.52),
}
"""Table IV by what is measured and, for JEPA, the width."""

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


def rounds_to(value: float, printed: str) -> bool:
    """Whether a value, rounded to the digits and in the unit of a printed one ("0.14 G"), is that one."""
    number, _, unit = printed.partition(" ")
    decimals = len(number.partition(".")[2])
    return f"{value / UNITS[unit]:.{decimals}f}" == number
