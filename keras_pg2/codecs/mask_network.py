"""The VQ-VAE behind the `<seg...>` tokens: 64 x 64 pixels of a mask as 4 x 4 codes.

Source of the architecture: Ning et al., "All in Tokens" (arXiv 2301.02229), and the
names and shapes of `vae-oid.npz`, which big_vision reads in
`pp/proj/paligemma/segmentation.py` (encoding) and
`evaluators/proj/paligemma/transfers/segmentation.py` (decoding). Encoder: four
convolutions of stride 2, two residual blocks, one convolution to the code's width.
Decoder: one 1 x 1 convolution, two residual blocks, four transposed convolutions of
stride 2, one 1 x 1 convolution to a number that is positive inside the mask.

Axes: B batch, D codebook_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_pg2.codecs.segment_tokens import NUM_CODES
from keras_pg2.typing import Tensor

MASK_SIZE = 64
"""Height and width of a mask that goes in or comes out."""
GRID_SIZE = 4
"""Height and width of its grid of codes."""


@dataclass(frozen=True)
class MaskNetworkConfig:
    """Widths and kernels, which a file of weights tells (`mask_files.py`).

    The default widths of code and decoder are those of the released file.

    Attributes:
        codebook_dim: D, width of a code.
        hidden_dim: width of the decoder's residual blocks; divisible by 8.
        encoder_dims: widths of the four convolutions of stride 2; the last is that of
            the encoder's residual blocks.
        encoder_kernel_sizes: of these four and of the convolution to the code.
    """

    codebook_dim: int = 512
    hidden_dim: int = 128
    encoder_dims: tuple[int, int, int, int] = (128, 128, 128, 128)
    encoder_kernel_sizes: tuple[int, int, int, int, int] = (4, 4, 4, 4, 1)


class ResidualBlock(keras.layers.Layer):
    """x + conv1x1(relu(conv3x3(relu(conv3x3(x)))))

    Args:
        dim: channels in and out.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.convolutions = [
            _convolution(dim, size, name=f"net_{2 * i}")
            for i, size in enumerate((3, 3, 1))
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for convolution in self.convolutions:
            convolution.build((None, None, None, self.dim))

    def call(self, x: Tensor) -> Tensor:
        """float[B, h, w, dim] -> the same."""
        first, second, last = self.convolutions
        return x + last(ops.relu(second(ops.relu(first(x)))))


class MaskEncoder(keras.layers.Layer):
    """Masks to the vectors that the codebook replaces.

    Args:
        configuration: widths and kernels.
    """

    def __init__(self, configuration: MaskNetworkConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        *sizes, last_size = configuration.encoder_kernel_sizes
        self.down = [
            _convolution(dim, size, strides=2, name=f"encoder_{2 * i}")
            for i, (dim, size) in enumerate(zip(configuration.encoder_dims, sizes))
        ]
        dim = configuration.encoder_dims[-1]
        self.blocks = [ResidualBlock(dim, name=f"encoder_{i}") for i in (8, 9)]
        self.last = _convolution(
            configuration.codebook_dim, last_size, name="encoder_10"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _build_chain([*self.down, *self.blocks, self.last], channels=1)

    def call(self, masks: Tensor) -> Tensor:
        """float[B, 64, 64, 1] in [-1, 1] -> float[B, 4, 4, D]."""
        x = masks
        for convolution in self.down:
            x = ops.relu(convolution(x))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class MaskDecoder(keras.layers.Layer):
    """Code vectors back to masks.

    Args:
        configuration: widths and kernels.
    """

    def __init__(self, configuration: MaskNetworkConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codebook_dim = configuration.codebook_dim
        dim = configuration.hidden_dim
        self.first = _convolution(dim, 1, name="decoder_0")
        self.blocks = [ResidualBlock(dim, name=f"decoder_{i}") for i in (2, 3)]
        self.up = [
            keras.layers.Conv2DTranspose(
                dim // factor,
                4,
                strides=2,
                padding="same",
                data_format="channels_last",
                name=f"decoder_{i}",
            )
            for i, factor in zip((4, 6, 8, 10), (1, 2, 4, 8))
        ]
        self.last = _convolution(1, 1, name="decoder_12")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        chain = [self.first, *self.blocks, *self.up, self.last]
        _build_chain(chain, channels=self.codebook_dim)

    def call(self, vectors: Tensor) -> Tensor:
        """float[B, 4, 4, D] -> float[B, 64, 64, 1], about -1 outside and 1 inside."""
        x = ops.relu(self.first(vectors))
        for block in self.blocks:
            x = block(x)
        for convolution in self.up:
            x = ops.relu(convolution(x))
        return self.last(x)


class MaskNetwork(keras.layers.Layer):
    """Encoder, codebook and decoder.

    Args:
        configuration: widths and kernels.
    """

    def __init__(
        self, configuration: MaskNetworkConfig = MaskNetworkConfig(), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.configuration = configuration
        self.encoder = MaskEncoder(configuration, name="encoder")
        self.decoder = MaskDecoder(configuration, name="decoder")
        self.codebook = self.add_weight(
            shape=(NUM_CODES, configuration.codebook_dim),
            initializer="random_normal",
            name="codebook",
        )
        self.encoder.build((None, MASK_SIZE, MASK_SIZE, 1))
        self.decoder.build((None, GRID_SIZE, GRID_SIZE, configuration.codebook_dim))
        self.built = True

    def call(self, masks: Tensor) -> Tensor:
        """float[B, 64, 64, 1] in [-1, 1] through codes and back."""
        return self.decode(self.encode(masks))

    def encode(self, masks: Tensor) -> Tensor:
        """float[B, 64, 64, 1] in [-1, 1] -> int32[B, 16] codes, row by row."""
        return self.nearest_codes(self.encoder(masks))

    def nearest_codes(self, vectors: Tensor) -> Tensor:
        """float[B, 4, 4, D] -> int32[B, 16], the nearest entry of the codebook."""
        flat = ops.reshape(vectors, (-1, GRID_SIZE**2, self.configuration.codebook_dim))
        lengths = ops.sum(ops.square(self.codebook), axis=1)
        # Squared distances, but for what is the same for all entries.
        distances = lengths - 2 * ops.matmul(flat, ops.transpose(self.codebook))
        return ops.cast(ops.argmin(distances, axis=-1), "int32")

    def decode(self, codes: Tensor) -> Tensor:
        """int32[B, 16] in 0..127 -> float[B, 64, 64, 1], positive inside the mask."""
        vectors = ops.take(self.codebook, codes, axis=0)
        grid = (-1, GRID_SIZE, GRID_SIZE, self.configuration.codebook_dim)
        return self.decoder(ops.reshape(vectors, grid))


def named_convolutions(
    network: MaskNetwork,
) -> Iterator[tuple[str, keras.layers.Conv2D]]:
    """Each convolution with its name in `vae-oid.npz`, such as `encoder.8.net.2`."""
    encoder, decoder = network.encoder, network.decoder
    for layer in (
        *encoder.down,
        encoder.last,
        decoder.first,
        *decoder.up,
        decoder.last,
    ):
        yield layer.name.replace("_", "."), layer
    for block in (*encoder.blocks, *decoder.blocks):
        for layer in block.convolutions:
            yield f"{block.name}.{layer.name}".replace("_", "."), layer


def _convolution(
    filters: int, kernel_size: int, strides: int = 1, name: str | None = None
) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        data_format="channels_last",
        name=name,
    )


def _build_chain(chain: list[keras.layers.Layer], channels: int) -> None:
    for layer in chain:
        layer.build((None, None, None, channels))
        channels = layer.dim if isinstance(layer, ResidualBlock) else layer.filters
