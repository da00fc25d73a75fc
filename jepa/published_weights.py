"""Published weights from the user's own files: nothing is ever fetched."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from twin.errors import UserError

__all__ = ["assign_weights", "read_weights", "weights_file"]


def weights_file(weights: Path) -> Path:
    """The safetensors file itself, where a Hugging Face directory that holds one may be named."""
    return weights / "model.safetensors" if weights.is_dir() else weights


def read_weights(weights: Path, known_as: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the Hugging Face directory that holds one.

    Raises:
        UserError: they are missing or damaged.
    """
    path = weights_file(weights)
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError("holds no weights", path, f"name a safetensors file of {known_as}") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot be read ({error})", path, "fetch the file again") from None


def assign_weights(network: nn.Module, found: Mapping[str, Tensor], where: Path, known_as: str) -> None:
    """Give a network all of its weights; what was found beside them (a classifier, say) is left out.

    Args:
        where, known_as: the file and the network in words, for the user.

    Raises:
        UserError: they are those of another network.
    """
    known = network.state_dict()
    try:
        network.load_state_dict({name: values for name, values in found.items() if name in known})
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(f"is of another network ({first})", where, f"name weights of {known_as}") from None
