"""``pfsr export``, from the command line to a model that a device runs."""

import numpy as np
import pytest

from pfsr.device.runtime import Runtime
from pfsr.model.bundle import open_bundle, read_adaptation


def test_a_run_becomes_a_device_model(pfsr_command, trained, tmp_path):
    told = pfsr_command("export", trained, "--out", tmp_path / "model", "--table", "float16")
    assert (told.status, told.err) == (0, "")
    for words in (
        "device model",
        "30 items",
        "float16 table",
        "% of their spread",
        "scores differ from PyTorch",
    ):
        assert words in told.out
    runtime, bundle = Runtime.open(tmp_path / "model"), open_bundle(trained / "best.safetensors")
    assert runtime.catalog == bundle.catalog
    assert runtime.manifest.adaptation == read_adaptation(trained / "best.safetensors") is not None
    query = runtime.replay([1, 2, 3], np.zeros(runtime.sites.total, np.float32))[1]
    expected = bundle.score([np.array([1, 2, 3])])[0].numpy()
    np.testing.assert_allclose(
        runtime.scores(query)[1:], expected[1:], atol=2e-3 * np.abs(expected[1:]).max()
    )


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("missing.safetensors", "--out", "model"), 1, "no such bundle"),
        (("missing.safetensors",), 2, "--out"),
        (("missing.safetensors", "--out", "model", "--table", "int4"), 2, "int4"),
    ],
)
def test_refusals_are_one_line(pfsr_command, arguments, status, words):
    told = pfsr_command("export", *arguments)
    assert told.status == status
    assert words in told.err
    assert told.err.count("\n") == 1


def test_an_existing_folder_is_refused(pfsr_command, trained, tmp_path):
    (tmp_path / "model").mkdir()
    told = pfsr_command("export", trained, "--out", tmp_path / "model")
    assert told.status == 1
    assert "exists already" in told.err
