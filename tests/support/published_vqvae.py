"""The published mask VQ-VAE written in PyTorch, module for module of its weight file.

`state_dict()` has the very names of `vae-oid.npz`, but for the codebook.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn


class ResBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) + x


class PublishedVQVAE(nn.Module):
    def __init__(self, code: int, hidden: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, dim in zip((1, *dims), dims):
            layers += [nn.Conv2d(before, dim, 4, stride=2, padding=1), nn.ReLU()]
        layers += [ResBlock(dims[-1]), ResBlock(dims[-1]), nn.Conv2d(dims[-1], code, 1)]
        self.encoder = nn.Sequential(*layers)
        widths = [hidden, hidden, hidden // 2, hidden // 4, hidden // 8]
        layers = [nn.Conv2d(code, hidden, 1), nn.ReLU()]
        layers += [ResBlock(hidden), ResBlock(hidden)]
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                nn.ReLU(),
            ]
        layers += [nn.Conv2d(hidden // 8, 1, 1)]
        self.decoder = nn.Sequential(*layers)
        self.codebook = nn.Parameter(torch.randn(128, code), requires_grad=False)

    def arrays(self) -> dict:
        arrays = {key: value.numpy() for key, value in self.state_dict().items()}
        arrays["_vq_vae._embedding"] = arrays.pop("codebook")
        return arrays

    @torch.no_grad()
    def encode(self, masks) -> tuple:
        """[B, 64, 64] in [-1, 1] -> vectors [B, D, 4, 4], codes [B, 16]."""
        vectors = self.encoder(torch.tensor(masks)[:, None])
        flat = vectors.flatten(2).transpose(1, 2)
        return vectors.numpy(), torch.cdist(flat, self.codebook[None]).argmin(
            -1
        ).numpy()

    @torch.no_grad()
    def decode(self, codes):
        """[B, 16] -> [B, 64, 64]."""
        rows = self.codebook[torch.tensor(codes).long()]
        grid = rows.reshape(-1, 4, 4, rows.shape[-1]).permute(0, 3, 1, 2)
        return self.decoder(grid)[:, 0].numpy()
