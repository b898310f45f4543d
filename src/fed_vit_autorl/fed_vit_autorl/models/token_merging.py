"""Token merging (Bolya et al., ToMe, 2023) with un-merging, so that dense heads get a token for every patch back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Merged:
    """tokens (B, M, D); `size` (B, M) how many patches each stands for; `owner` (B, N) which token stands for a
    patch.
    """

    tokens: Tensor
    size: Tensor
    owner: Tensor

    @classmethod
    def none(cls, tokens: Tensor) -> Merged:
        """Every patch its own token."""
        batch, count = tokens.shape[:2]
        owner = torch.arange(count, device=tokens.device).expand(batch, count)
        return cls(tokens, torch.ones(batch, count, dtype=tokens.dtype, device=tokens.device), owner)

    @property
    def attention_bias(self) -> Tensor:
        """(B, 1, 1, M) logarithm of the sizes: a token attracts as much attention as its patches did."""
        return self.size.log()[:, None, None]

    def merge(self, count: int) -> Merged:
        """With `count` tokens fewer: of every second token those that are likest to one of the others join it."""
        batch, total, width = self.tokens.shape
        metric = functional.normalize(self.tokens, dim=-1)
        likeness, partner = (metric[:, ::2] @ metric[:, 1::2].transpose(1, 2)).max(-1)
        order = likeness.argsort(-1, descending=True)
        joins, stays = order[:, :count], order[:, count:].sort(-1).values
        target = partner.gather(1, joins)
        weighted = torch.cat((self.tokens * self.size.unsqueeze(2), self.size.unsqueeze(2)), 2)
        even, odd = weighted[:, ::2], weighted[:, 1::2]
        spread = (batch, -1, width + 1)
        added = odd.scatter_add(1, target.unsqueeze(2).expand(spread), _rows(even, joins))
        kept = torch.cat((_rows(even, stays), added), 1)
        size = kept[..., width]
        place = torch.zeros(batch, total // 2 + total % 2, dtype=torch.long, device=order.device)
        rank = torch.arange(stays.shape[1], device=order.device).expand(batch, -1)
        place = place.scatter(1, stays, rank).scatter(1, joins, target + stays.shape[1])
        odd_place = stays.shape[1] + torch.arange(odd.shape[1], device=order.device).expand(batch, -1)
        here = torch.stack((place, functional.pad(odd_place, (0, total % 2))), 2).flatten(1)[:, :total]
        return Merged(kept[..., :width] / size.unsqueeze(2), size, here.gather(1, self.owner))

    def unmerged(self) -> Tensor:
        """(B, N, D): each patch gets what its token became."""
        return _rows(self.tokens, self.owner)


def _rows(tokens: Tensor, index: Tensor) -> Tensor:
    """Rows (B, K, D) of tokens (B, M, D) at index (B, K)."""
    return tokens.gather(1, index.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
