"""Time per token of one block at growing lengths: Associative Mamba Block against attention.

The attention block is SASRec's at the same width: norm, causal self-attention (torch's own kernel, 2 heads),
norm, feed-forward network of 1 or 4 times the width. One thread; about the same number of tokens in every
measurement. The last column is the slope of log time per sequence over log length (1: cost linear in length,
2: quadratic), from the last two lengths, where what is fixed per call matters least.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from cyclopts import App, Parameter
from measure import Job, interleave, middle, prepare, show
from torch import Tensor, nn

from pfsr.config import ModelConfig
from pfsr.model.amb import apply_block, init_block

app = App(help=__doc__)

LENGTHS = (50, 200, 1000, 4000)
HEADS = 2

Block = tuple[Callable[[Tensor], Tensor], list[Tensor]]
"""What encodes [B, L, d], and the weights that gradients are asked for."""


class Attention(nn.Module):
    """SASRec's block: causal self-attention, then a feed-forward network, each after a norm."""

    def __init__(self, d_model: int, expand: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(d_model), nn.LayerNorm(d_model)])
        self.project, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, expand * d_model), nn.Linear(expand * d_model, d_model)

    def forward(self, x_BLd: Tensor) -> Tensor:
        """Encode all positions at once."""
        projected = self.project(self.norms[0](x_BLd)).unflatten(-1, (3, HEADS, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x_BLd = x_BLd + self.out(mixed.transpose(1, 2).flatten(2))
        return x_BLd + self.down(F.relu(self.up(self.norms[1](x_BLd))))


@app.default
def main(
    lengths: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = LENGTHS,
    *,
    d_model: int = 64,
    tokens: int = 8000,
    repeats: int = 7,
) -> None:
    """Measure.

    Parameters
    ----------
    lengths
        Events a sequence, shortest first; two at least.
    d_model
        Width of every block.
    tokens
        Tokens in each measurement: as many sequences as make that many, one at least.
    repeats
        Measurements, after the warm-up.
    """
    prepare()
    torch.manual_seed(0)
    blocks = _blocks(d_model)
    for backward in (False, True):
        jobs = {
            f"{name}/{length}": _job(block, _input(length, tokens, d_model), backward)
            for length in lengths
            for name, block in blocks.items()
        }
        costs = {name: middle(found).cpu for name, found in interleave(jobs, repeats).items()}
        kind = "forward and backward" if backward else "forward"
        columns = (f"{kind}, cpu us a token", *(f"L = {n:,}" for n in lengths), "slope")
        rows = [_row(name, costs, lengths, tokens) for name in blocks]
        show(f"One block, width {d_model}", columns, rows)


def _blocks(d_model: int) -> dict[str, Block]:
    found = {
        f"AMB {view}": _amb(ModelConfig(d_model=d_model, view=view)) for view in ("associative", "forward")
    }
    for expand in (1, 4):
        module = Attention(d_model, expand)
        found[f"attention + FFN {expand}x"] = module, list(module.parameters())
    return found


def _amb(config: ModelConfig) -> Block:
    weights = init_block(config, torch.Generator().manual_seed(0))
    leaves = [weight.requires_grad_() for weight in weights.values()]
    return lambda x_BLd: x_BLd + apply_block(weights, x_BLd, torch.ones_like(x_BLd[..., :1]), config), leaves


def _input(length: int, tokens: int, d_model: int) -> Tensor:
    return torch.randn(_sequences(length, tokens), length, d_model)


def _sequences(length: int, tokens: int) -> int:
    return max(tokens // length, 1)


def _job(block: Block, x_BLd: Tensor, backward: bool) -> Job:
    encode, weights = block

    def train() -> None:
        leaf_BLd = x_BLd.requires_grad_()
        torch.autograd.grad(encode(leaf_BLd).sum(), [*weights, leaf_BLd])

    def read() -> None:
        with torch.no_grad():
            encode(x_BLd)

    return train if backward else read


def _row(name: str, costs: dict[str, float], lengths: tuple[int, ...], tokens: int) -> list[str]:
    each = {n: costs[f"{name}/{n}"] / _sequences(n, tokens) for n in lengths}
    shorter, longer = lengths[-2:]
    slope = math.log(each[longer] / each[shorter]) / math.log(longer / shorter)
    return [name, *(f"{1e6 * each[n] / n:.2f}" for n in lengths), f"{slope:.2f}"]


if __name__ == "__main__":
    app()
