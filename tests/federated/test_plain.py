"""FedPer, FedRep and PFedRec as settings: private heads that learn by plain gradient descent."""

import math

import pytest
import torch
import torch.nn.functional as F

from pfsr.errors import PfsrError
from pfsr.federated.partition import new_private
from pfsr.model.encoder import encode
from pfsr.model.magnitude import FREE_SPREAD
from pfsr.recipe import resolve

HEADS = {
    "head": lambda q, e, scale: q + q @ e.view(len(scale), -1),
    "scorer": lambda q, e, scale: q / scale * (scale + e[: len(scale)]) + e[len(scale) :],
}


def settings(world, sites: str, private_steps: int, rate: float = 0.5):
    return world.config(
        model={"sites": sites},
        response={"mode": "plain", "rate": rate, "private_steps": private_steps},
        objective={"magnitude": "off"},
        federated={"local_rate": 0.3},
    )


def by_hand(world, config, batch, sent, steps: int):
    """Descend on a private head of the frozen body's queries; return the head, and the last query."""
    items, targets = batch.items_BL[0], batch.targets_BL[0]
    x_1Ld = sent.weights["items"][items][None] * math.sqrt(config.model.d_model)
    query = encode(sent.weights, x_1Ld, torch.ones(1, len(items), dtype=torch.bool), config.model)[0]
    head = torch.zeros(world.sites(config).total, dtype=torch.float64)
    for _ in range(steps):
        leaf = head.clone().requires_grad_()
        personal = HEADS[config.model.sites](query, leaf, sent.weights["scale"])
        logits = personal @ sent.weights["items"].T + sent.weights["item_bias"]
        logits = logits.masked_fill(world.out_of_play(config, batch, 0), -torch.inf)
        # Without the loss, offsets are as good as free: their prior variance is a thousand.
        loss = F.cross_entropy(logits[:, 1:], targets - 1) + leaf @ leaf / (2 * len(items) * FREE_SPREAD)
        head = head - config.response.rate * torch.autograd.grad(loss, leaf)[0]
    return head


@pytest.mark.parametrize("sites", ["head", "scorer"])
@pytest.mark.parametrize(("private_steps", "taken"), [(0, 1), (3, 3)])
def test_the_head_descends_the_persons_own_loss(world, sites, private_steps, taken):
    config = settings(world, sites, private_steps)
    sent, batch = world.broadcast(config, torch.float64), world.batch([world.people[2]])
    fresh = new_private(1, world.sites(config))
    start = fresh._replace(offsets_BS=fresh.offsets_BS.double())
    _, after = world.learn(config, start, batch, sent)
    expected = by_hand(world, config, batch, sent, taken)
    torch.testing.assert_close(after.offsets_BS[0], expected, rtol=1e-6, atol=1e-9)


def test_the_shared_step_sees_the_head_as_the_private_steps_left_it(world):
    joint, ahead = settings(world, "head", 0), settings(world, "head", 2)
    sent, batch = world.broadcast(joint), world.batch([world.people[3]])
    fresh = new_private(1, world.sites(joint))
    _, trained = world.learn(ahead, fresh, batch, sent)
    together, _ = world.learn(joint, trained, batch, sent)
    alternating, _ = world.learn(ahead, fresh, batch, sent)
    for name, moved in world.dense(together, 0, sent).items():
        torch.testing.assert_close(world.dense(alternating, 0, sent)[name], moved)


def test_a_zero_head_is_the_global_model(world):
    config = settings(world, "head", 0)
    off = world.config(
        response={"mode": "off"}, objective={"magnitude": "off"}, federated={"local_rate": 0.3}
    )
    sent, batch = world.broadcast(config), world.batch()
    personal, _ = world.learn(config, new_private(6, world.sites(config)), batch, sent)
    plain, _ = world.learn(off, new_private(6, world.sites(off)), batch, sent)
    torch.testing.assert_close(personal.table_BMd, plain.table_BMd)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"response": {"mode": "soft", "private_steps": 1}}, "private_steps needs mode = 'plain'"),
        ({"response": {"mode": "soft", "rate": 1.5}}, "at most 1"),
        ({"training": "central"}, "training = 'central' needs response.mode = 'off'"),
        (
            {
                "training": "central",
                "response": {"mode": "off"},
                "objective": {"magnitude": "off"},
                "federated": {"upload_bits": 1},
            },
            "needs federated.upload_bits = 32",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(sections, said):
    with pytest.raises(PfsrError, match=said):
        resolve(sections)
