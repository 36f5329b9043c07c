"""Standard normals that are a function of (seed, level, index): the leaves of a path can be drawn in any order."""

from typing import Any

import numpy as np
import torch

# torch's state of its Mersenne twister: a head of 24 bytes, then 624 words of 32 bits, each in 8 bytes.
HEAD, WORDS = 24, 624


class NormalStream:
    """Independent blocks of standard normals, one for each (level, index).

    A block's words come from Philox4x64 [@salmon2011parallel], whose key is the seed and whose counter is the block's
    place, so different blocks and seeds never meet. They become the state of torch's generator, whose vectorised
    normals are four times as fast as NumPy's. (`torch.Generator.manual_seed` would be shorter, but it uses 32 bits of
    its seed: of 100,000 blocks one pair would be the same.)

    Normals are drawn in float32, whatever the path's dtype, so that a path is the same in every dtype.

    Args:
        seed: 0 <= seed < 2^64.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._philox = np.random.Philox(0)
        self._place = np.zeros(4, np.uint64)
        self._philox_state: Any = {
            "bit_generator": "Philox",
            "state": {"counter": self._place, "key": np.array([seed, 0], np.uint64)},
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        self._generator = torch.Generator(device="cpu").manual_seed(0)
        self._state, self._words = empty_state()

    def __reduce__(self) -> tuple[type["NormalStream"], tuple[int]]:
        """Copies are built anew: the words are a view of the state, which copying would tear apart."""
        return NormalStream, (self._seed,)

    def draw(self, level: int, index: int, out: torch.Tensor) -> None:
        """Fill a contiguous float32 tensor with the normals of one block; its size belongs to the block's identity."""
        self._place[2], self._place[1] = level, index
        self._philox.state = self._philox_state
        self._words[:] = self._philox.random_raw(WORDS // 2).view(np.uint32)
        self._generator.set_state(self._state)
        out.normal_(generator=self._generator)


def empty_state() -> tuple[torch.Tensor, np.ndarray]:
    """A generator's state of which nothing is consumed, and a view of its words. Shapes (bytes,), (624,).

    Raises:
        RuntimeError: this torch keeps its state otherwise.
    """
    state = torch.Generator(device="cpu").manual_seed(2**31 + 5).get_state()
    words = state.numpy()[HEAD : HEAD + 8 * WORDS].view(np.uint64)
    # Its first word is the seed, and each further one follows from the one before.
    first = 2**31 + 5
    second = (1812433253 * (first ^ (first >> 30)) + 1) % 2**32
    if words.size != WORDS or (int(words[0]), int(words[1])) != (first, second):
        raise RuntimeError(
            f"torch {torch.__version__} keeps the state of its generator in an unknown form, expected that of torch "
            "2.4 to 2.13; use one of these"
        )
    return state, words
