"""What a server sends to a device for a round, and what the device sends back: safetensors, never a pickle.

    call      weight.NAME        the shared weights, in the bits of federated.download_bits
              factor.NAME        8 bits alone: what a row of weight.NAME is to be multiplied by
              spread, limits     tau^2 per site group, c per shared tensor
              negatives          sampled loss alone: item rows common to the cohort
              in the header: format, version, round, config, order of the weights, digest of the item ids
    upload    the fields of ``federated.update.wire_fields``, each by its name, and nothing else
              in the header: format, version, round

Nothing of a call is believed: shapes, finiteness, model and catalogue are checked against the device's own
model before anything is computed.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pfsr.config import Config
from pfsr.data.catalog import Catalog
from pfsr.device.manifest import read_catalog, read_manifest
from pfsr.device.weights import ITEM_SCALE, mapped_weights
from pfsr.errors import PfsrError
from pfsr.federated.download import Travelling, travelling
from pfsr.federated.update import Field, Updates, wire, wire_fields
from pfsr.federated.view import Broadcast
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEMS

CALL, UPLOAD, VERSION = "pfsr-call", "pfsr-upload", 1

_TYPES = {"rotation": torch.int64, "codes": torch.uint8}
"""Fields of an upload that are not float32."""


class Call(NamedTuple):
    """What the server sent, and the configuration under which it is to be learned from."""

    broadcast: Broadcast
    config: Config


def write_call(broadcast: Broadcast, config: Config, catalog: Catalog) -> bytes:
    """Return what a server sends to the devices of a round.

    Args:
        broadcast: what ``federated.rounds.make_broadcast`` returned.
        config: the run's configuration; the parts that learning needs are sent, without the seed.
        catalog: the items, in the order of the weights.
    """
    sent = travelling(broadcast.weights, config.federated.download_bits)
    tensors = {f"weight.{name}": one.numbers for name, one in sent.items()}
    tensors |= {f"factor.{name}": one.factors for name, one in sent.items() if one.factors is not None}
    tensors |= {"spread": broadcast.spread_G, "limits": broadcast.limits_T}
    if broadcast.negatives is not None:
        tensors["negatives"] = broadcast.negatives
    parts = {"model", "response", "objective", "federated"}
    header = _header(CALL, broadcast.version) | {"config": config.model_dump_json(include=parts)}
    header |= {"order": json.dumps(list(broadcast.weights)), "catalog": catalog_digest(catalog)}
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, header)


def read_call(call: bytes, folder: Path) -> Call:
    """Return what a server sent, once it fits the device model in ``folder``.

    Raises:
        PfsrError: it is damaged, from a newer PFSR, or for another model or catalogue.
    """
    header, tensors = _opened(call)
    try:
        config, round_ = Config.model_validate_json(header["config"]), int(header["round"])
        weights = {name: _weight(tensors, name) for name in json.loads(header["order"])}
        negatives = tensors.get("negatives")
        spread_G, limits_T = tensors["spread"].float(), tensors["limits"].float()
        broadcast = Broadcast(weights, spread_G, limits_T, round_, negatives)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(str(error).splitlines()[0]) from None
    _check_model(header.get("catalog"), config, folder)
    _check_numbers(broadcast, folder)
    return Call(broadcast, config)


def write_upload(updates: Updates, call: Call) -> tuple[bytes, tuple[str, ...]]:
    """Return the message of one client, and the names of all that is in it."""
    weights, groups = call.broadcast.weights, len(call.broadcast.spread_G)
    fields = wire_fields(weights, groups, call.config.federated.upload_bits)
    parts = wire(updates, 0, weights).split([field.bytes for field in fields])
    tensors = {field.name: _typed(field, part) for field, part in zip(fields, parts, strict=True)}
    return save(tensors, _header(UPLOAD, call.broadcast.version)), tuple(tensors)


def catalog_digest(catalog: Catalog) -> str:
    """Return the SHA-256, in hex, of the item ids in row order; titles do not count."""
    ids = catalog.to_json()["ids"]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _weight(tensors: Weights, name: str) -> Tensor:
    numbers, factors = tensors[f"weight.{name}"], tensors.get(f"factor.{name}")
    if (numbers.dtype == torch.int8) != (factors is not None):
        raise ValueError(f"weight.{name} and factor.{name} do not belong together")
    return Travelling(numbers, factors).read()


def _header(format_: str, round_: int) -> dict[str, str]:
    return {"format": format_, "version": str(VERSION), "round": str(round_)}


def _typed(field: Field, part: Tensor) -> Tensor:
    """Return the bytes of a field as what they stand for; codes stay packed."""
    numbers = part.clone().view(_TYPES.get(field.name, torch.float32))
    return numbers if field.name == "codes" else numbers.reshape(field.shape)


def _opened(call: bytes) -> tuple[dict[str, str], Weights]:
    try:
        tensors = load(call)
        end = 8 + int.from_bytes(call[:8], "little")
        header = json.loads(call[8:end]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise _damaged(str(error).splitlines()[0]) from None
    if header.get("format") != CALL:
        raise _damaged("its header does not say that it is one")
    if (version := header.get("version")) != str(VERSION):
        raise PfsrError(
            f"call version {version!r:.20}, this PFSR reads {VERSION}; use the PFSR of the server"
        )
    return header, tensors


def _check_model(digest: str | None, config: Config, folder: Path) -> None:
    manifest, catalog = read_manifest(folder), read_catalog(folder)
    if config.model != manifest.model or digest != catalog_digest(catalog):
        raise PfsrError(
            f"this round is for another model or catalogue than {manifest.model_version}; "
            "take in the server's device model with update_model, then take part"
        )


def _check_numbers(broadcast: Broadcast, folder: Path) -> None:
    weights, groups = broadcast.weights, len(read_manifest(folder).sites)
    shapes = {name: value.shape for name, value in mapped_weights(folder).items() if name != ITEM_SCALE}
    if {name: tuple(weight.shape) for name, weight in weights.items()} != shapes:
        raise _damaged("its weights do not fit the model")
    if broadcast.spread_G.shape != (groups,) or broadcast.limits_T.shape != (len(weights),):
        raise _damaged("spread or limits do not fit the model")
    numbers = [*weights.values(), broadcast.spread_G, broadcast.limits_T]
    if not all(bool(number.isfinite().all()) for number in numbers) or bool((broadcast.spread_G <= 0).any()):
        raise _damaged("it holds numbers that no model has")
    if broadcast.negatives is not None:
        _check_negatives(broadcast.negatives, len(weights[ITEMS]))


def _check_negatives(negatives_K: Tensor, rows: int) -> None:
    distinct = negatives_K.ndim == 1 and len(negatives_K.unique()) == len(negatives_K) > 0
    if negatives_K.dtype != torch.int64 or not distinct or negatives_K.min() < 1 or negatives_K.max() >= rows:
        raise _damaged("its negatives are not rows of the catalogue")


def _damaged(why: str) -> PfsrError:
    return PfsrError(f"call: damaged or not of a PFSR server ({why}); nothing was learned, nothing left")
