"""Which cells there are: what needs another comes after it, and a rule has one cell."""

import pytest

from pfsr.comparison.method import BUILT_IN
from pfsr.comparison.plan import parse_seeds
from pfsr.errors import PfsrError


def labels(comparison):
    return [cell.label for cell in comparison.cells]


def test_seed_by_seed_and_rules_once(planned):
    comparison = planned("markov", "pfsr", "pfsr-flipped", seeds=(4, 7))
    assert labels(comparison) == [
        "markov", "pfsr seed 4", "pfsr-flipped seed 4", "pfsr seed 7", "pfsr-flipped seed 7",
    ]  # fmt: skip
    assert len({cell.folder.root for cell in comparison.cells}) == 5
    assert {cell.wanted.split for cell in comparison.cells} == {comparison.facts["split_hash"]}


def test_what_ditto_starts_from_is_added_before_it_with_the_same_seed(planned):
    comparison = planned("ditto", "amb-fedadam", seeds=(0, 1))
    assert labels(comparison) == ["amb-fedadam seed 0", "ditto seed 0", "amb-fedadam seed 1", "ditto seed 1"]
    assert labels(planned("ditto")) == ["amb-fedadam seed 0", "ditto seed 0"]
    below, ditto = comparison.cells[:2]
    assert ditto.base is below
    assert ditto.wanted.made_of.base == below.wanted.made_of
    assert ditto.wanted.made_of.config.response.mode == "off"


def test_a_rule_depends_on_the_data_alone(planned):
    one, other = planned("markov"), planned("markov", seeds=(0,), federated={"rounds": 99})
    assert one.cells[0].wanted.made_of == other.cells[0].wanted.made_of
    assert planned("pfsr").cells[0].wanted != planned("pfsr", federated={"rounds": 99}).cells[0].wanted


def test_no_names_are_all_methods(planned):
    assert [method.name for method in planned().methods] == list(BUILT_IN)


def test_a_method_of_ones_own_stands_beside(planned, own_method):
    path = own_method("mine", 'about = "x"\nkind = "run"\n[settings.federated]\ncohort = 8')
    assert labels(planned("pfsr", str(path))) == ["pfsr seed 0", "mine seed 0"]
    with pytest.raises(PfsrError, match="mine is there twice"):
        planned(str(path), str(path))


def test_ditto_needs_a_run_below(planned, own_method):
    text = 'about = "x"\nkind = "ditto"\nof = "markov"\n[tuning]\nsteps = 1\nrate = 0.1'
    with pytest.raises(PfsrError, match="of = 'markov' is no run and leaves no model"):
        planned(str(own_method("mine", text)))


def test_ditto_starts_from_a_file_of_ones_own_by_its_name(planned, own_method):
    base = own_method("base", 'about = "x"\nkind = "run"\n[settings.response]\nmode = "off"')
    text = 'about = "x"\nkind = "ditto"\nof = "{}"\n[tuning]\nsteps = 1\nrate = 0.1'
    mine = own_method("mine", text.format("base"))
    assert labels(planned(str(mine), str(base))) == ["base seed 0", "mine seed 0"]
    for wrong in ("base.toml", str(base), "nobody"):
        other = own_method("other", text.format(wrong))
        with pytest.raises(PfsrError, match=r"method other: of = .* is no method here; .* without \.toml"):
            planned(str(other), str(base))


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", [5]), ("3", [5, 6, 7]), ("0,1,7", [0, 1, 7]), ("4,", [4]), ("1,1", [1])]
)
def test_seeds_are_a_number_or_a_list(text, seeds):
    assert parse_seeds(text, 5) == seeds


@pytest.mark.parametrize("text", ["", "0", "x", "-1", "1.5", "1,x", "100000000"])
def test_other_seeds_are_refused(text):
    with pytest.raises(PfsrError, match="--seeds"):
        parse_seeds(text, 0)


def test_every_cell_gets_the_dropout_that_the_data_ask_for_unless_the_recipe_or_a_method_names_one(
    planned, own_method
):
    dropouts = [cell.wanted.made_of.config.model.dropout for cell in planned("pfsr", "sasrec-fedadam").cells]
    assert dropouts[0] != "auto"
    assert dropouts[0] == dropouts[1] == planned().config.model.dropout
    mine = own_method("mine", 'about = "x"\nkind = "run"\n[settings.model]\ndropout = 0.05')
    assert planned(str(mine)).cells[0].wanted.made_of.config.model.dropout == 0.05
    assert planned("pfsr", model={"dropout": 0.1}).cells[0].wanted.made_of.config.model.dropout == 0.1


def test_nothing_private_is_nothing_to_scramble(planned):
    with pytest.raises(PfsrError, match=r"method pfsr-scrambled: pfsr has nothing private"):
        planned("pfsr-scrambled", response={"mode": "off"})
    assert labels(planned("pfsr", response={"mode": "off"})) == ["pfsr seed 0"]
