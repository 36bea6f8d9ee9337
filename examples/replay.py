"""A person replayed, event by event: python examples/replay.py MODEL [DATA.csv [USER]]

MODEL is a device model (what `pfsr export` wrote), a bundle or a run folder; DATA has the columns user_id,
item_id and timestamp (.gz too), without it the built-in synthetic people are used. Before every event the
device, which has only seen those before, ranks what comes next; the line shows at which rank it was. Not
ranked is what the person has had already, and what the model does not know.
"""

import sys
import tempfile
from pathlib import Path

from pfsr import PfsrError, open_bundle
from pfsr.data import Dataset, load
from pfsr.device.device import Device
from pfsr.export.folder import export_model
from pfsr.model.bundle import read_adaptation

EVERYTHING = 10**9
"""More items than any catalogue has."""


def main(model: str, data: str = "synthetic", user: str | None = None) -> None:
    """Replay one person: the named one, or the one with the most events."""
    dataset = load(data, core=0)
    with tempfile.TemporaryDirectory() as place:
        path = device_model(Path(model), Path(place))
        with Device.open(Path(place) / "person", model=path) as device:
            replay(device, history(dataset, user), dataset)


def device_model(path: Path, place: Path) -> Path:
    """Return the device model at ``path``, exported first where it is a bundle or a run."""
    if (path / "manifest.json").exists():
        return path
    bundle = path / "best.safetensors" if path.is_dir() else path
    export_model(open_bundle(bundle), place / "model", adaptation=read_adaptation(bundle))
    return place / "model"


def history(dataset: Dataset, user: str | None) -> list[int]:
    """Return a person's events, oldest first, as rows of the data's catalogue."""
    person = int(dataset.sequences.lengths.argmax()) if user is None else dataset.person(user)
    return dataset.sequences.history(person).tolist()


def replay(device: Device, rows: list[int], dataset: Dataset) -> None:
    """Print the rank of every event before it is recorded, and the share of ranks up to 10 so far."""
    hits = 0
    for number, row in enumerate(rows, start=1):
        item = dataset.catalog.item_id(row)
        assert isinstance(item, str | int)
        ranked = [found.item_id for found in device.recommend(EVERYTHING)]
        rank = ranked.index(item) + 1 if item in ranked else None
        hits += rank is not None and rank <= 10
        told = f"rank {rank:>6,}" if rank else "not ranked"
        print(f"{number:>5}  {told:<12}  HR@10 {hits / number:.3f}  {dataset.catalog.title(row)}", flush=True)
        device.record(item)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except PfsrError as error:
        sys.exit(f"error: {error}")
