"""What leaves a device in a round: every field, its shape and its bytes, in one place. A memory of pairs,
where it is on, takes one more message before the first round, listed in ``federated.pairs``.

What leaves: the movement of every shared tensor, the number of events, the mean loss, one clipped number per
site group, one flag per tensor. With ``federated.upload_bits`` of 32 the movements are float32. With fewer
they are one vector, rotated by random signs and rounded to that many bits a number (see ``compression``),
with a float32 step per block of 4,096 and the 64-bit seed of the signs. The seed is hashed from that of the
participation, different for every client and round; it travels so that the server can decode, and says
nothing about the history.

The size of a message does not depend on the history; its contents do. Whoever reads a single client's message
in clear can tell which items are in the history, from the item table's rows and signs, and from its zeros
where seen items do not compete. Rounding is no protection, so messages need secure sums and noise before
they may leave a real device. Codes under different rotations cannot be summed before they are decoded: with
fewer than 32 bits the server, or whoever decodes for it, sees single messages. The limits of the Dynamic
Magnitude Loss hold before rounding: what one bit decodes to is a quarter longer.
The simulator sends nothing anywhere, but sums what the server would decode.

Shapes: B clients, M rows of a local item table, I items, d = d_model, G site groups; N numbers of a movement,
padded.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.federated.compression import BLOCK, Codes, decode, encode, pack, padded, random_signs, unpack
from pfsr.federated.seeds import derive
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS
from pfsr.model.thin import Moved, one_of, write_out


class Compressed(NamedTuple):
    """The movements of B clients as they leave.

    Attributes:
        bits: per number.
        codes: of every client.
        seeds: of every client's rotation.
    """

    bits: int
    codes: list[Codes]
    seeds: list[int]


class Updates(NamedTuple):
    """The updates of B clients, one row a client, as the server reads them.

    Attributes:
        deltas: movement of every shared tensor except the item table and biases, [B, *shape].
        table_BMd: movement of the item table, at ``rows_BM``; thin where histories are short, which like
            ``rows_BM`` saves memory inside one process and never leaves.
        bias_BM: movement of the item biases, at ``rows_BM``.
        rows_BM: item rows that a client touched (None: all, in order). A way to save memory inside one
            process; it never leaves: on the wire tables are dense (:func:`wire`).
        weight_B: events trained on.
        loss_B: mean loss before the shared steps.
        spread_BG: one clipped number per site group, for tau^2 (Dynamic Magnitude Loss).
        within_BT: 1 where a shared tensor's movement stayed under its limit c (in the order of the weights).
        compressed: what the movements were decoded from (None: they are sent as they are).
    """

    deltas: Weights
    table_BMd: Moved
    bias_BM: Moved
    rows_BM: Tensor | None
    weight_B: Tensor
    loss_B: Tensor
    spread_BG: Tensor
    within_BT: Tensor
    compressed: Compressed | None = None


class Field(NamedTuple):
    """One thing that leaves a device."""

    name: str
    shape: tuple[int, ...]
    bits: int = 32

    @property
    def bytes(self) -> int:
        """Its size; the bits of codes always fill whole bytes."""
        return torch.Size(self.shape).numel() * self.bits // 8


def wire_fields(weights: Weights, groups: int, bits: int = 32) -> list[Field]:
    """List every field of one client's message, in order. Nothing else is sent."""
    moved = [Field(f"delta.{name}", tuple(w.shape)) for name, w in weights.items()]
    if bits < 32:
        numbers = padded(sum(w.numel() for w in weights.values()))
        steps = Field("steps", (numbers // BLOCK,))
        moved = [Field("rotation", (), 64), steps, Field("codes", (numbers,), bits)]
    return [
        *moved,
        Field("weight", ()),
        Field("loss", ()),
        Field("spread", (groups,)),
        Field("within", (len(weights),)),
    ]


def wire_bytes(weights: Weights, groups: int, bits: int = 32) -> int:
    """Return the size of one client's message; the same for everybody."""
    return sum(field.bytes for field in wire_fields(weights, groups, bits))


def wire(updates: Updates, client: int, weights: Weights) -> Tensor:
    """Return one client's message as bytes (uint8): the fields of :func:`wire_fields`, in order."""
    scalars = [updates.weight_B[client, None], updates.loss_B[client, None]]
    rest = [*scalars, updates.spread_BG[client], updates.within_BT[client]]
    if updates.compressed is None:
        return torch.cat([*_moved(updates, client, weights), *rest]).view(torch.uint8)
    bits, codes, seeds = updates.compressed
    numbers = [torch.tensor([seeds[client]]), codes[client].steps_K, torch.cat(rest)]
    rotation, steps, others = (number.view(torch.uint8) for number in numbers)
    return torch.cat([rotation, steps, pack(codes[client].codes_N, bits), others])


def unwire(message: Tensor, weights: Weights, groups: int, bits: int) -> Updates:
    """Return what a message of :func:`wire` says: the update of one client, with all rows."""
    fields = wire_fields(weights, groups, bits)
    parts = message.split([field.bytes for field in fields])
    sent = {field.name: part.clone() for field, part in zip(fields, parts, strict=True)}
    moved_N, compressed = _read_codes(sent, bits) if bits < 32 else (_read_floats(sent, weights), None)
    rest = [sent[name].view(torch.float32) for name in ("weight", "loss", "spread", "within")]
    weight_B, loss_B, spread_G, within_T = rest
    tensors = _tensors(moved_N[None], weights)
    return Updates(*tensors, None, weight_B, loss_B, spread_G[None], within_T[None], compressed)


def compress(updates: Updates, weights: Weights, seeds: Sequence[int], bits: int) -> Updates:
    """Return the updates as the server decodes them from ``bits`` a number (32: unchanged), with all rows.

    Args:
        updates: what the clients learned.
        weights: the shared tensors that moved.
        seeds: of the clients' participations; those of the rotations are hashed from them.
        bits: per number.
    """
    if bits == 32:
        return updates
    numbers = padded(sum(w.numel() for w in weights.values()))
    compressed = Compressed(bits, [], [derive(seed, "rotation") for seed in seeds])
    moved_BN = torch.empty(len(seeds), numbers)
    # One client at a time stays in cache, and gets the same numbers whoever else is in the batch.
    for client, seed in enumerate(compressed.seeds):
        signs_2C = random_signs(seed)
        compressed.codes.append(encode(_flat(updates, client, weights, numbers), signs_2C, bits))
        moved_BN[client] = decode(compressed.codes[client], signs_2C, bits)
    deltas, table_BMd, bias_BM = _tensors(moved_BN, weights)
    return updates._replace(
        deltas=deltas, table_BMd=table_BMd, bias_BM=bias_BM, rows_BM=None, compressed=compressed
    )


def dense_delta(updates: Updates, name: str, client: int, weight: Tensor) -> Tensor:
    """Return one client's movement of one shared tensor, in that tensor's shape."""
    if name not in (ITEMS, ITEM_BIAS):
        return updates.deltas[name][client]
    local = write_out(one_of(updates.table_BMd if name == ITEMS else updates.bias_BM, client))[0]
    if updates.rows_BM is None:
        return local
    return torch.zeros_like(weight).index_add_(0, updates.rows_BM[client], local)


def _moved(updates: Updates, client: int, weights: Weights) -> list[Tensor]:
    return [dense_delta(updates, name, client, w).flatten() for name, w in weights.items()]


def _flat(updates: Updates, client: int, weights: Weights, numbers: int) -> Tensor:
    """Return one client's movements one after the other, and zeros up to ``numbers``."""
    moved = _moved(updates, client, weights)
    return torch.cat([*moved, torch.zeros(numbers - sum(m.numel() for m in moved))])


def _read_floats(sent: dict[str, Tensor], weights: Weights) -> Tensor:
    return torch.cat([sent[f"delta.{name}"] for name in weights]).view(torch.float32)


def _read_codes(sent: dict[str, Tensor], bits: int) -> tuple[Tensor, Compressed]:
    seed = int(sent["rotation"].view(torch.int64))
    coded = Codes(unpack(sent["codes"], bits), sent["steps"].view(torch.float32))
    moved_N = decode(coded, random_signs(seed), bits)
    return moved_N, Compressed(bits, [coded], [seed])


def _tensors(moved_BN: Tensor, weights: Weights) -> tuple[Weights, Tensor, Tensor]:
    """Return flat movements tensor by tensor: the rest, the item table, the item biases."""
    sizes = [w.numel() for w in weights.values()]
    pieces = moved_BN[:, : sum(sizes)].split(sizes, 1)
    deltas = {name: p.view(-1, *w.shape) for p, (name, w) in zip(pieces, weights.items(), strict=True)}
    table_BMd, bias_BM = deltas.pop(ITEMS), deltas.pop(ITEM_BIAS)
    # Padding never moves; what decoding adds to its row is noise.
    table_BMd[:, 0] = bias_BM[:, 0] = 0
    return deltas, table_BMd, bias_BM
