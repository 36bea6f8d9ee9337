"""A whole device: python examples/device.py FOLDER DEVICE_MODEL

DEVICE_MODEL is what `pfsr export BUNDLE --out DEVICE_MODEL` wrote. Type an item id to record it, `learn` to
adapt to this person, `forget` to erase everything, nothing to leave. All of it stays in FOLDER.
"""

import sys

from pfsr import PfsrError
from pfsr.device.device import Device


def main(folder: str, model: str) -> None:
    """Ask for items and recommend the next ones."""
    with Device.open(folder, model=model) as device:
        while True:
            for place, found in enumerate(device.recommend(5), start=1):
                print(f"{place}. {found.title}  [{found.item_id}]  {found.score:.2f}")
            match input("item> ").strip():
                case "":
                    return
                case "learn":
                    print(device.learn())
                case "forget":
                    print(device.forget(everything=True), "events erased")
                case item:
                    device.record(item)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except PfsrError as error:
        sys.exit(f"error: {error}")
