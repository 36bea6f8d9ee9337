"""The associative scan: one causal pass, two views of every prefix.

Each event i adds v_i = p_i x_i (outer) b_i to a state. Each head has its own step p_i >= 0, and forgets at
its own pace a_i <= 0:

    S_t = sum_{i<=t} a_i                                  log-decay so far
    h_t = sum_{i<=t} exp(S_t - S_i) v_i                   append: the selective state
    g_m = sum_{i<=m} exp(eta S_{i-1}) v_i                 prepend: the state of the reversed prefix
    s_t = sum_{t-r<i<=t} exp(S_t - S_i) v_i + exp(S_t - S_{t-r}) g_{t-r}    partially flipped state

(the sum in s_t equals h_t - exp(S_t - S_{t-r}) h_{t-r}, without its cancellation). Pairs (a, v) compose
associatively, so h extends the product on the right and g on the left. Three forms that must agree:
``scan_sequential`` (the definition, readable), ``scan_chunked`` (matrix products, for training) and
``scan_step`` (one event at constant cost, for serving).

Shapes: B clients, L events, H heads, P channels a head, D = H P, N state columns, Q events a chunk,
C chunks, r the flip horizon.
Source: state-space duality (arXiv 2405.21060); partial flip: SIGMA (2408.11451).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.model.chunked import Sources, read

MAX_DECAY = 2.5
"""Largest log-decay of one event: keeps exp(-S) finite in float32 over a chunk."""

CHUNK = 25
"""Events a chunk: exp(25 x MAX_DECAY) is 1e27, eleven orders of magnitude below the largest float32."""


NOTHING = 1e-30
"""A smaller step counts as this: its logarithm is finite, and what it adds is still nothing."""


class ScanInputs(NamedTuple):
    """What one block feeds its scan; ``cg`` and ``eta`` are None without the flipped view."""

    a_BLH: Tensor
    step_BLH: Tensor
    x_BLD: Tensor
    b_BLN: Tensor
    cf_BLN: Tensor
    cg_BLN: Tensor | None
    eta_BH: Tensor | None


class ScanState(NamedTuple):
    """All a scan remembers of a prefix; its size does not depend on the prefix.

    The last ``r`` events wait in ``recent_*`` (oldest first) until they enter the flipped state.
    """

    h_BND: Tensor
    g_BND: Tensor
    total_BH: Tensor
    recent_a_BrH: Tensor
    recent_x_BrD: Tensor
    recent_b_BrN: Tensor
    recent_w_BrH: Tensor


def empty_state(batch: int, heads: int, inner: int, columns: int, horizon: int, like: Tensor) -> ScanState:
    """Return the state of the empty prefix, with the dtype and device of ``like``."""
    return ScanState(
        like.new_zeros(batch, columns, inner),
        like.new_zeros(batch, columns, inner),
        like.new_zeros(batch, heads),
        like.new_zeros(batch, horizon, heads),
        like.new_zeros(batch, horizon, inner),
        like.new_zeros(batch, horizon, columns),
        like.new_zeros(batch, horizon, heads),
    )


def scan_step(state: ScanState, event: ScanInputs) -> tuple[ScanState, Tensor, Tensor | None]:
    """Take in one event (L = 1) and return the new state, y_BD of h and y_BD of s (None without ``cg``)."""
    a_BH, b_BN = event.a_BLH[:, 0], event.b_BLN[:, 0]
    x_BD = _spread(event.step_BLH[:, 0], event.x_BLD[:, 0]) * event.x_BLD[:, 0]
    v_BND = b_BN[:, :, None] * x_BD[:, None, :]
    h_BND = _spread(a_BH.exp(), x_BD)[:, None, :] * state.h_BND + v_BND
    y_h = _read(event.cf_BLN[:, 0], h_BND)
    if event.cg_BLN is None or event.eta_BH is None:
        return state._replace(h_BND=h_BND), y_h, None
    g_BND = state.g_BND + state.recent_b_BrN[:, 0, :, None] * _weighted(state, 0)[:, None, :]
    recent = state._replace(
        h_BND=h_BND,
        g_BND=g_BND,
        total_BH=state.total_BH + a_BH,
        recent_a_BrH=_push(state.recent_a_BrH, a_BH),
        recent_x_BrD=_push(state.recent_x_BrD, x_BD),
        recent_b_BrN=_push(state.recent_b_BrN, b_BN),
        recent_w_BrH=_push(state.recent_w_BrH, (event.eta_BH * state.total_BH).exp()),
    )
    return recent, y_h, _read_flipped(recent, event.cg_BLN[:, 0])


def _read_flipped(state: ScanState, cg_BN: Tensor) -> Tensor:
    after_BrH = state.recent_a_BrH.flip(1).cumsum(1).flip(1)
    decay_BrH = (after_BrH - state.recent_a_BrH).exp()
    match_Br1 = state.recent_b_BrN @ cg_BN[:, :, None]
    near_BD = (_spread(decay_BrH, state.recent_x_BrD) * state.recent_x_BrD * match_Br1).sum(1)
    far_BD = _read(cg_BN, state.g_BND)
    return near_BD + _spread(after_BrH[:, 0].exp(), far_BD) * far_BD


def _weighted(state: ScanState, index: int) -> Tensor:
    x_BD = state.recent_x_BrD[:, index]
    return _spread(state.recent_w_BrH[:, index], x_BD) * x_BD


def _push(recent: Tensor, newest: Tensor) -> Tensor:
    return torch.cat([recent[:, 1:], newest[:, None]], dim=1)


def _read(c_BN: Tensor, state_BND: Tensor) -> Tensor:
    return (c_BN[:, None, :] @ state_BND)[:, 0]


def scan_sequential(inputs: ScanInputs, horizon: int) -> tuple[Tensor, Tensor | None]:
    """The definition, event by event: ``scan_step`` from the empty state. Slow; the yardstick of tests."""
    batch, length, heads = inputs.a_BLH.shape
    inner, columns = inputs.x_BLD.shape[-1], inputs.b_BLN.shape[-1]
    state = empty_state(batch, heads, inner, columns, horizon, inputs.x_BLD)
    y_h, y_s = [], []
    for t in range(length):
        event = _event(inputs, t)
        state, y_t, s_t = scan_step(state, event)
        y_h.append(y_t)
        y_s.append(s_t)
    flipped = None if inputs.cg_BLN is None else torch.stack(y_s, 1)
    return torch.stack(y_h, 1), flipped


def _event(inputs: ScanInputs, t: int) -> ScanInputs:
    parts = [None if part is None else part[:, t : t + 1] for part in inputs[:-1]]
    return ScanInputs._make([*parts, inputs.eta_BH])


def chunk_size(length: int, chunk: int = CHUNK) -> int:
    """Return the cheapest chunk up to ``chunk`` events: padding is work, and odd sizes multiply slowly."""

    def cost(size: int) -> float:
        return -(-length // size) * size * (1 if size % 4 == 0 else 1.1)

    return min(range(min(length, chunk), chunk // 2, -1), key=cost, default=length)


def scan_chunked(inputs: ScanInputs, horizon: int, chunk: int = CHUNK) -> tuple[Tensor, Tensor | None]:
    """All positions at once, as matrix products over chunks; cost linear in L.

    Within a chunk exp(S_t - S_i) factors into exp(s_t) exp(-s_i), so the Q x Q product c_t . b_i is
    shared by all heads and no per-head Q x Q matrix is ever formed.

    Args:
        inputs: as the block made them; padding has a = 0 and step = 0.
        horizon: r, events younger than this are not in the flipped state.
        chunk: events a chunk (at least ``horizon``); more than CHUNK may overflow float32.

    Returns:
        y_BLD read from h, and y_BLD read from s (None when ``inputs.cg_BLN`` is None).
    """
    length = inputs.x_BLD.shape[1]
    cut = _cut(inputs, max(chunk_size(length, chunk), horizon))
    if inputs.cg_BLN is None or inputs.eta_BH is None:
        return _joined(_read_forward(cut), length), None
    before_BLH = inputs.eta_BH[:, None] * (inputs.a_BLH.cumsum(1) - inputs.a_BLH)
    chunk = cut.x_BCQD.shape[2]
    y_h, y_s = _read_both(cut, _chunks(inputs.cg_BLN, chunk), _chunks(before_BLH, chunk), horizon)
    return _joined(y_h, length), _joined(y_s, length)


class _Cut(NamedTuple):
    """A scan's inputs by chunk: ``taken`` is the log of the step, ``s`` log-decay since the chunk began."""

    x_BCQD: Tensor
    b_BCQN: Tensor
    cf_BCQN: Tensor
    taken_BCQH: Tensor
    s_BCQH: Tensor


def _cut(inputs: ScanInputs, chunk: int) -> _Cut:
    taken_BLH = inputs.step_BLH.clamp(min=NOTHING).log()
    parts = (inputs.x_BLD, inputs.b_BLN, inputs.cf_BLN, taken_BLH, inputs.a_BLH)
    x, b, cf, taken, a = (_chunks(part, chunk) for part in parts)
    return _Cut(x, b, cf, taken, a.cumsum(2))


def _read_forward(cut: _Cut) -> Tensor:
    x, b, cf, taken_BCQH, s_BCQH = cut
    seen_QK = _with_state(x.new_ones(x.shape[2], x.shape[2]).tril(), b.shape[3])
    return read(Sources(x, b, taken_BCQH - s_BCQH, s_BCQH[:, :, -1]), [cf], s_BCQH, seen_QK, 0)[0]


def _read_both(cut: _Cut, cg: Tensor, before_BCQH: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Read h; and of s the last ``horizon`` events as h would, with the flipped state of what came before."""
    x, b, cf, taken_BCQH, s_BCQH = cut
    chunk, columns, overlap = x.shape[2], b.shape[3], horizon - 1
    # Log-decay from an event to the start of the chunk: of the chunk before, its last ``horizon`` events.
    since = torch.cat([_previous(s_BCQH[:, :, -1:] - s_BCQH[:, :, chunk - horizon :]), -s_BCQH], 2)
    taken_BCMH = torch.cat([_previous(taken_BCQH[:, :, chunk - overlap :]), taken_BCQH], 2)
    seen_QM, far_QQ = x.new_ones(chunk, chunk + overlap).tril(overlap), x.new_ones(chunk, chunk).tril(-1)
    near_QK = F.pad(seen_QM.triu(), (0, columns))
    recent = Sources(x, b, since[:, :, 1:] + taken_BCMH, s_BCQH[:, :, -1])
    seen_RK = torch.cat([_with_state(seen_QM, columns), near_QK])
    y_h, near = read(recent, [cf, cg], s_BCQH, seen_RK, overlap)
    prefix = Sources(x, b, _delayed(before_BCQH + taken_BCQH, overlap), torch.zeros_like(s_BCQH[:, :, 0]))
    (far,) = read(prefix, [cg], s_BCQH + since[:, :, :chunk], _with_state(far_QQ, columns), overlap)
    return y_h, near + far


def _with_state(mask_QM: Tensor, columns: int) -> Tensor:
    return F.pad(mask_QM, (0, columns), value=1.0)


def _joined(y_BCQD: Tensor, length: int) -> Tensor:
    y_BLD = y_BCQD.flatten(1, 2)
    return y_BLD if y_BLD.shape[1] == length else y_BLD[:, :length]


def _previous(chunks: Tensor) -> Tensor:
    return F.pad(chunks[:, :-1], (0, 0, 0, 0, 1, 0))


def _delayed(x_BCQH: Tensor, steps: int) -> Tensor:
    """Shift towards the future by ``steps`` events, zeros first."""
    shifted = F.pad(x_BCQH.flatten(1, 2), (0, 0, steps, 0))
    return shifted[:, : shifted.shape[1] - steps].unflatten(1, x_BCQH.shape[1:3])


def _chunks(x_BLK: Tensor, chunk: int) -> Tensor:
    missing = -x_BLK.shape[1] % chunk
    padded = F.pad(x_BLK, (0, 0, 0, missing)) if missing else x_BLK
    return padded.unflatten(1, (-1, chunk))


def _spread(per_head: Tensor, channels: Tensor) -> Tensor:
    """Repeat one number per head over that head's channels."""
    return per_head.repeat_interleave(channels.shape[-1] // per_head.shape[-1], dim=-1)
