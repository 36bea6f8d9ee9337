"""The inner loop of the chunked scan: every query of a chunk reads the events before it, as matrix products.

    y_t = sum over the sources i that t sees of exp(out_t + into_i) x_i (b_i . c_t)

The product b_i . c_t is the same for all heads, so they share one R x M matrix; events that a chunk does not
meet one by one it reads from a state. Memory traffic is what bounds this on a CPU, so the backward pass is
written by hand; its key is that, head by head, the gradients of the log-weights are inner products of what is
there anyway: d out_t = y_t . dy_t and d into_i = x_i . dx_i.

Shapes: B clients, C chunks, G = B C, Q events a chunk, R queries a chunk (one or more an event), M sources a
chunk, N state columns, K = M + N rows that a chunk reads, H heads, P channels a head, D = H P.
Source: state-space duality (arXiv 2405.21060).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable


class Sources(NamedTuple):
    """Events as the queries of each chunk meet them.

    Attributes:
        x_BCQD: what an event adds, per channel.
        b_BCQN: under which key it is found.
        into_BCMH: log-weight of each source, relative to the start of the chunk that reads it. A chunk's
            state holds the first Q sources of every chunk before.
        decay_BCH: log-decay of the state from a chunk's start to the next one's.
    """

    x_BCQD: Tensor
    b_BCQN: Tensor
    into_BCMH: Tensor
    decay_BCH: Tensor


def read(
    sources: Sources, queries_BCQN: Sequence[Tensor], out_BCQH: Tensor, mask_RK: Tensor, overlap: int
) -> tuple[Tensor, ...]:
    """Return y_BCQD, what they read, for each of the sets of queries; differentiable once.

    Args:
        sources: the events.
        queries_BCQN: sets of one query an event.
        out_BCQH: log-weight of the queries, the same for all sets.
        mask_RK: one where a query (set by set) sees a source or, in the last N columns, the state; else zero.
        overlap: how many of the M sources are the last events of the chunk before; the others are the
            chunk's first ones.
    """
    return _Read.apply(mask_RK, overlap, *sources, out_BCQH, *queries_BCQN)


class _Read(Function):
    @staticmethod
    def forward(ctx: Any, mask_RK: Tensor, overlap: int, *parts: Tensor) -> tuple[Tensor, ...]:
        x, b, into, decay, out, *queries = parts
        (size, columns), sources = b.shape[2:], into.shape[2]
        b, c = _sources(b, overlap, sources), torch.cat(queries, 2).flatten(0, 1)
        weight, grow = into.exp(), out.exp()
        values_GKD = x.new_empty(len(c), sources + columns, x.shape[-1])
        keys_GMD = values_GKD[:, :sources]
        _fill_keys(keys_GMD, x, weight, overlap)
        gain_GND = torch.bmm(b[:, :size].mT, keys_GMD[:, :size])
        _carry_on(values_GKD[:, sources:], gain_GND, decay)
        left_GRK = x.new_empty(*c.shape[:2], sources + columns)
        torch.mul(torch.bmm(c, b.mT), mask_RK[:, :sources], out=left_GRK[..., :sources])
        torch.mul(c, mask_RK[:, sources:], out=left_GRK[..., sources:])
        y_BCRD = torch.bmm(left_GRK, values_GKD).unflatten(0, x.shape[:2])
        read = tuple(_scale(y_BCQD, grow) for y_BCQD in y_BCRD.split(size, 2))
        ctx.overlap = overlap
        ctx.save_for_backward(mask_RK, b, c, decay, weight, grow, values_GKD, left_GRK, *read)
        return read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *dy_BCQD: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        mask_RK, b, c, decay, weight, grow, values_GKD, left_GRK, *read = ctx.saved_tensors
        (chunks, size), sources = (grow.shape[:2], grow.shape[2]), weight.shape[2]
        keys_GMD = values_GKD[:, :sources]
        dout = torch.stack([_per_head(y * dy, grow) for y, dy in zip(read, dy_BCQD, strict=True)]).sum(0)
        dy_GRD = _scaled_sets(dy_BCQD, grow).flatten(0, 1)
        dleft_GRK = torch.bmm(dy_GRD, values_GKD.mT).mul_(mask_RK)
        dmatch_GRM = dleft_GRK[..., :sources]
        db, dc = torch.bmm(dmatch_GRM.mT, c), torch.bmm(dmatch_GRM, b).add_(dleft_GRK[..., sources:])
        dvalues_GKD = torch.bmm(left_GRK.mT, dy_GRD)
        dkeys_GMD = dvalues_GKD[:, :sources]
        dgain_GND, ddecay = _carry_back(values_GKD[:, sources:], dvalues_GKD[:, sources:], decay)
        dkeys_GMD[:, :size] += torch.bmm(b[:, :size], dgain_GND)
        db[:, :size] += torch.bmm(keys_GMD[:, :size], dgain_GND.mT)
        dinto = _per_head((dkeys_GMD * keys_GMD).unflatten(0, chunks), weight)
        dx = _gather_sources(_scale_(dkeys_GMD.unflatten(0, chunks), weight), size, ctx.overlap)
        db = _gather_sources(db.unflatten(0, chunks), size, ctx.overlap)
        return None, None, dx, db, dinto, ddecay, dout, *dc.unflatten(0, chunks).split(size, 2)


def _carry_on(states_GND: Tensor, gain_GND: Tensor, decay_BCH: Tensor) -> None:
    """Fill in the state each chunk starts from: state' = decay (state + gain), chunk after chunk."""
    states, gains, decays = _by_chunk(states_GND, gain_GND, decay_BCH)
    states[0].zero_()
    _follow(zip(states[1:], states[:-1], gains, decays, strict=False))


def _carry_back(states_GND: Tensor, dstates_GND: Tensor, decay_BCH: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of :func:`_carry_on` with respect to the gains and the log-decays."""
    dgain_GND = dstates_GND.new_empty(dstates_GND.shape)
    dgains, dstates, decays = _by_chunk(dgain_GND, dstates_GND, decay_BCH)
    dgains[-1].zero_()
    _follow(zip(dgains[-2::-1], dgains[:0:-1], dstates[:0:-1], decays[-2::-1], strict=True))
    weighed_GD = dstates_GND.add_(dgain_GND).mul_(states_GND).sum(1)
    arrived_BCH = _per_head(weighed_GD.unflatten(0, decay_BCH.shape[:2]), decay_BCH)
    return dgain_GND, torch.cat([arrived_BCH[:, 1:], torch.zeros_like(arrived_BCH[:, :1])], 1)


def _by_chunk(left_GND: Tensor, right_GND: Tensor, decay_BCH: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    shape, channels = decay_BCH.shape[:2], left_GND.shape[-1] // decay_BCH.shape[-1]
    decay_BC1D = decay_BCH.exp().repeat_interleave(channels, -1)[:, :, None]
    return (
        left_GND.unflatten(0, shape).unbind(1),
        right_GND.unflatten(0, shape).unbind(1),
        decay_BC1D.unbind(1),
    )


def _follow(steps: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
    for new, old, gain, decay in steps:
        torch.add(old, gain, out=new).mul_(decay)


def _sources(b_BCQN: Tensor, overlap: int, sources: int) -> Tensor:
    """Return [G, M, N]: the last ``overlap`` events of the chunk before, then the chunk's first ones."""
    if not overlap:
        return b_BCQN.flatten(0, 1)
    before = torch.cat([torch.zeros_like(b_BCQN[:, :1, -overlap:]), b_BCQN[:, :-1, -overlap:]], 1)
    return torch.cat([before, b_BCQN[:, :, : sources - overlap]], 2).flatten(0, 1)


def _fill_keys(keys_GMD: Tensor, x_BCQD: Tensor, weight_BCMH: Tensor, overlap: int) -> None:
    keys = _split_heads(keys_GMD.unflatten(0, x_BCQD.shape[:2]), weight_BCMH)
    x, weight = _split_heads(x_BCQD, weight_BCMH), weight_BCMH[..., None]
    torch.mul(x[:, :, : keys.shape[2] - overlap], weight[:, :, overlap:], out=keys[:, :, overlap:])
    if overlap:
        keys[:, 0, :overlap] = 0
        torch.mul(x[:, :-1, -overlap:], weight[:, 1:, :overlap], out=keys[:, 1:, :overlap])


def _gather_sources(dsources_BCMK: Tensor, size: int, overlap: int) -> Tensor:
    """Add up what each event got as a source of its own chunk and of the next one."""
    if not overlap:
        return dsources_BCMK
    own, missing = dsources_BCMK[:, :, overlap:], size + overlap - dsources_BCMK.shape[2]
    own = F.pad(own, (0, 0, 0, missing)) if missing else own
    own[:, :-1, size - overlap :] += dsources_BCMK[:, 1:, :overlap]
    return own


def _split_heads(x: Tensor, per_head: Tensor) -> Tensor:
    heads = per_head.shape[-1]
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads)


def _scale(x: Tensor, weight: Tensor) -> Tensor:
    return (_split_heads(x, weight) * weight[..., None]).reshape(x.shape)


def _scaled_sets(sets_BCQD: Sequence[Tensor], weight_BCQH: Tensor) -> Tensor:
    """Return the sets one after the other, [B, C, R, D], each channel times its head's number."""
    batch, chunks, size, inner = sets_BCQD[0].shape
    result_BCRD = weight_BCQH.new_empty(batch, chunks, len(sets_BCQD) * size, inner)
    for part, x_BCQD in zip(result_BCRD.split(size, 2), sets_BCQD, strict=True):
        x, weight = _split_heads(x_BCQD, weight_BCQH), weight_BCQH[..., None]
        torch.mul(x, weight, out=_split_heads(part, weight_BCQH))
    return result_BCRD


def _scale_(x: Tensor, weight: Tensor) -> Tensor:
    _split_heads(x, weight).mul_(weight[..., None])
    return x


def _per_head(x: Tensor, like: Tensor) -> Tensor:
    """Sum each head's channels."""
    return _split_heads(x, like).sum(-1)
