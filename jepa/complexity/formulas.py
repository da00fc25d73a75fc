"""Operations of transformer layers, by formula."""

__all__ = ["FRAME_TOKENS", "transformer_flops"]

FRAME_TOKENS = 43
"""Tokens of a frame with all five modalities: 9 + 16 + 16 + 1 + 1."""


def transformer_flops(width: int, tokens: int, layers: int, ratio: int = 4) -> int:
    """2 x MAC of transformer layers on N tokens of width D: 2 layers N ((4 + 2 ratio) D^2 + 2 N D).

    Projections of queries, keys, values and output 4 D^2, feed-forward 2 ratio D^2, two attention products 2 N D.
    """
    return 2 * layers * tokens * ((4 + 2 * ratio) * width**2 + 2 * tokens * width)
