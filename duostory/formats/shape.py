"""The shape of a Llama: its numbers, and the names and shapes of its tensors. Needs no numpy.

Weights are named as in the paper and in llama2.c; a key is (name, layer), and a matrix is [outputs, inputs].
"""

import struct
from dataclasses import dataclass

from duostory import StoryError

Key = tuple[str, int]

LLAMA2C_EPS = 1e-5
LLAMA2C_THETA = 10000.0
NORMS = ("attention_norm", "ffn_norm", "final_norm")
OUTSIDE_LAYERS = ("embedding", "final_norm", "classifier")
LAYER = ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3")

MAX_PIECE = 512  # bytes of a vocabulary's longest piece
LIMITS = {  # field: (least, most), the numbers of docs/format.md
    "dim": (1, 16384), "hidden_dim": (1, 16384), "n_layers": (1, 128), "n_heads": (1, 256),
    "n_kv_heads": (1, 256), "vocab_size": (260, 1_000_000), "seq_len": (1, 65_536),
}


def single(x: float) -> float:
    """x rounded to the single precision in which files keep it, so that equal files are equal in memory."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return float("inf")


@dataclass(frozen=True)
class Config:
    """The shape of a model and the constants of its forward pass. `tied`: the classifier is the embedding."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    norm_eps: float = LLAMA2C_EPS
    rope_theta: float = LLAMA2C_THETA
    bos: int = 1
    eos: int = 2
    tied: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm_eps", single(self.norm_eps))
        object.__setattr__(self, "rope_theta", single(self.rope_theta))

    @property
    def head_size(self) -> int:
        return self.dim // self.n_heads

    @property
    def kv_dim(self) -> int:
        return self.n_kv_heads * self.head_size

    def check(self) -> "Config":
        """Returns itself, or raises StoryError naming the first number that is out of range."""
        for name, (least, most) in LIMITS.items():
            if not least <= (n := getattr(self, name)) <= most:
                raise StoryError(f"{name} is {n}, outside {least} to {most}")
        if self.dim % self.n_heads or self.head_size % 2:
            raise StoryError(f"{self.n_heads} heads do not divide dim {self.dim} into heads of an even size")
        if self.n_heads % self.n_kv_heads:
            raise StoryError(f"{self.n_kv_heads} key heads do not divide {self.n_heads} heads")
        if not (0 <= self.bos < self.vocab_size and 0 <= self.eos < self.vocab_size):
            raise StoryError(f"BOS {self.bos} or EOS {self.eos} is not among {self.vocab_size} pieces")
        if not (0 < self.norm_eps < 1 and 1 <= self.rope_theta <= 1e9):
            raise StoryError(f"norm_eps {self.norm_eps:g} or rope_theta {self.rope_theta:g} makes no sense")
        return self

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor `name`: (outputs, inputs), or (dim,) for a norm."""
        dim, hidden, kv, vocab = self.dim, self.hidden_dim, self.kv_dim, self.vocab_size
        return {
            "embedding": (vocab, dim), "classifier": (vocab, dim),
            "wq": (dim, dim), "wk": (kv, dim), "wv": (kv, dim), "wo": (dim, dim),
            "w1": (hidden, dim), "w2": (dim, hidden), "w3": (hidden, dim),
        }.get(name, (dim,))

    def keys(self) -> list[Key]:
        """Every tensor of this model, in the order in which a forward pass meets them."""
        layers = [(name, layer) for layer in range(self.n_layers) for name in LAYER]
        return [("embedding", 0), *layers, ("final_norm", 0)] + ([] if self.tied else [("classifier", 0)])


def check_group(config: Config, size: int) -> None:
    """Raises StoryError unless rows of this model can be cut into groups of `size` weights."""
    if not 4 <= size <= 256 or size % 4 or config.dim % size or config.hidden_dim % size:
        raise StoryError(f"groups of {size} weights (4 to 256, a multiple of 4) do not divide rows of "
                         f"{config.dim} and {config.hidden_dim}")


def label(key: Key) -> str:
    """How an error message names a tensor."""
    name, layer = key
    return name if name in OUTSIDE_LAYERS else f"{name} of layer {layer}"
