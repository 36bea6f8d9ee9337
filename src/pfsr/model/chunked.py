"""The inner loop of the chunked scan: every query of a chunk reads the events before it, as matrix products.

    y_t = sum over the sources i that t sees of exp(out_t + into_i) x_i (b_i . c_t)

The product b_i . c_t is the same for all heads, so they share one Q x M matrix. Memory traffic is what bounds
this on a CPU, so the backward pass is written by hand; its key is that, head by head, the gradients of the
log-weights are inner products of what is there anyway: d out_t = y_t . dy_t and d into_i = x_i . dx_i.

Shapes: B clients, C chunks, Q events a chunk, M sources a chunk, N state columns, K = M + N rows that a chunk
reads (M without a state), H heads, P channels a head, D = H P.
Source: state-space duality (arXiv 2405.21060).
"""

from collections.abc import Iterable
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
        into_BCMH: log-weight of each source, relative to the chunk that reads it.
        decay_BCH: log-decay of the state from a chunk's start to the next one's; None: there is no state, and
            what lies before the M sources is not read.
    """

    x_BCQD: Tensor
    b_BCQN: Tensor
    into_BCMH: Tensor
    decay_BCH: Tensor | None


def read(sources: Sources, c_BCQN: Tensor, out_BCQH: Tensor, mask_QM: Tensor, overlap: int) -> Tensor:
    """Return y_BCQD, what each query reads; differentiable once.

    Args:
        sources: the events.
        c_BCQN: the queries.
        out_BCQH: log-weight of each query.
        mask_QM: one where a query sees a source, zero elsewhere.
        overlap: how many of the M sources are the last events of the chunk before; the others are the
            chunk's first ones.
    """
    return _Read.apply(mask_QM, overlap, *sources, c_BCQN, out_BCQH)


class _Read(Function):
    @staticmethod
    def forward(ctx: Any, mask_QM: Tensor, overlap: int, *parts: Tensor) -> Tensor:
        x, b, into, decay, c, out = parts
        size, sources = mask_QM.shape
        columns = 0 if decay is None else b.shape[-1]
        b, c = _sources(b, overlap, sources), c.flatten(0, 1)
        weight, grow = into.exp(), out.exp()
        values_GKD = x.new_empty(len(c), sources + columns, x.shape[-1])
        keys_GMD = values_GKD[:, :sources]
        _fill_keys(keys_GMD, x, weight, overlap)
        match_GQM = torch.bmm(c, b.mT).mul_(mask_QM)
        if decay is not None:
            gain_GND = torch.bmm(b[:, :size].mT, keys_GMD[:, :size])
            _carry_on(values_GKD[:, sources:], gain_GND, decay)
        left_GQK = match_GQM if decay is None else torch.cat([match_GQM, c], -1)
        y_BCQD = torch.bmm(left_GQK, values_GKD).view(x.shape)
        _scale_(y_BCQD, grow)
        ctx.overlap = overlap
        ctx.save_for_backward(mask_QM, b, c, decay, weight, grow, values_GKD, left_GQK, y_BCQD)
        return y_BCQD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BCQD: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        mask_QM, b, c, decay, weight, grow, values_GKD, left_GQK, y_BCQD = ctx.saved_tensors
        (size, sources), overlap = mask_QM.shape, ctx.overlap
        keys_GMD = values_GKD[:, :sources]
        dout = _per_head(y_BCQD * dy_BCQD, grow)
        dy_GQD = _scale(dy_BCQD, grow).flatten(0, 1)
        dleft_GQK = torch.bmm(dy_GQD, values_GKD.mT)
        dmatch_GQM = dleft_GQK[..., :sources].mul_(mask_QM)
        db, dc = torch.bmm(dmatch_GQM.mT, c), torch.bmm(dmatch_GQM, b)
        dkeys_GMD, ddecay = torch.bmm(left_GQK[..., :sources].mT, dy_GQD), None
        if decay is not None:
            dc += dleft_GQK[..., sources:]
            dstates_GND = torch.bmm(c.mT, dy_GQD)
            dgain_GND, ddecay = _carry_back(values_GKD[:, sources:], dstates_GND, decay)
            dkeys_GMD[:, :size] += torch.bmm(b[:, :size], dgain_GND)
            db[:, :size] += torch.bmm(keys_GMD[:, :size], dgain_GND.mT)
        chunks = weight.shape[:2]
        dinto = _per_head((dkeys_GMD * keys_GMD).unflatten(0, chunks), weight)
        dx = _gather_sources(_scale_(dkeys_GMD.unflatten(0, chunks), weight), size, overlap)
        db = _gather_sources(db.unflatten(0, chunks), size, overlap)
        return None, None, dx, db, dinto, ddecay, dc.unflatten(0, chunks), dout


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


def _scale_(x: Tensor, weight: Tensor) -> Tensor:
    _split_heads(x, weight).mul_(weight[..., None])
    return x


def _per_head(x: Tensor, like: Tensor) -> Tensor:
    """Sum each head's channels."""
    return _split_heads(x, like).sum(-1)
