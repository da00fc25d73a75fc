"""Where it is computed."""

import torch

from twin.errors import UserError

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        UserError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"no device {name!r} here", "--device", "use auto or cpu") from None
    return device
