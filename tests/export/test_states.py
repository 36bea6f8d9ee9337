import pytest
import torch

from pfsr.export.states import StateLayout
from pfsr.model.encoder import embed, encode_step


@pytest.mark.parametrize("view", ["associative", "forward"])
def test_a_flat_state_goes_on_like_the_layers_states(model_of, view):
    model = model_of(view=view, blocks=2, ffn=1)
    layout, states = StateLayout.of(model.config), model.start()
    flat = torch.zeros(1, layout.total)
    for row in (3, 1, 4, 1, 5):
        x = embed(model.weights["items"], torch.tensor([[row]]))
        states, expected = encode_step(model.weights, states, x, model.config)
        after, query = encode_step(model.weights, layout.split(flat), x, model.config)
        flat = layout.join(after)
        assert flat.shape == (1, layout.total)
        assert torch.equal(query, expected)


def test_what_lies_where(model_of):
    forward = StateLayout.of(model_of(ffn=1).config)
    assert forward.shapes == {"blocks.0.conv": (2, 16), "blocks.0.h": (4, 16)}
    flipped = model_of(view="associative")
    names = [name.removeprefix("blocks.0.") for name in StateLayout.of(flipped.config).shapes]
    assert names == ["conv", "h", "g", "total", "recent_a", "recent_x", "recent_b", "recent_w"]
