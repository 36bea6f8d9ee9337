"""Method files: those that ship are whole, and a wrong one is told on one line."""

import tomllib

import pytest

from pfsr.comparison.cell import made_of
from pfsr.comparison.method import BUILT_IN, FOLDER, find_method, read_method
from pfsr.errors import PfsrError


def test_every_file_that_ships_is_listed_once():
    assert sorted(BUILT_IN) == sorted(path.stem for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_method_fits_a_recipe_and_changes_what_it_says(name):
    method = find_method(name)
    base = find_method(method.of) if method.of else None
    config = made_of(method, {"federated": {"rounds": 9}}, 3, base).config
    for section, values in method.settings.items():
        found = getattr(config, section)
        for key, value in values.items() if isinstance(values, dict) else ():
            assert getattr(found, key) == value
    assert method.about
    if method.kind != "rule":
        # Minibatches of pooled training are counted apart: it goes on until validation stops improving.
        assert (config.seed, config.federated.rounds) == (3, 4000 if config.training == "central" else 9)


def test_only_pfsr_and_its_variants_are_ours():
    assert [name for name in BUILT_IN if find_method(name).ours] == [
        "pfsr", "pfsr-scrambled", "pfsr-flipped", "pfsr-no-response", "pfsr-hard", "pfsr-no-magnitude",
        "pfsr-prox", "pfsr-1bit",
    ]  # fmt: skip


def test_a_method_without_settings_is_the_recipe_itself():
    assert tomllib.loads((FOLDER / "pfsr.toml").read_text()).keys() == {"about", "kind", "ours"}


def test_a_file_of_ones_own_is_a_rival_unless_it_says_otherwise(own_method):
    text = 'about = "x"\nkind = "run"\n'
    assert not find_method(str(own_method("pfsr-mine", text))).ours
    assert find_method(str(own_method("mine", text + "ours = true"))).ours


def test_a_file_cannot_take_the_name_of_one_that_ships(own_method):
    path = own_method("pfsr-no-response", 'about = "x"\nkind = "run"')
    with pytest.raises(PfsrError, match="pfsr-no-response ships with PFSR; rename"):
        find_method(str(path))


@pytest.mark.parametrize(("typed", "meant"), [("sasrec", "sasrec-"), ("psfr", "pfsr"), ("Ditto", "ditto")])
def test_an_unknown_method_brings_a_near_name(typed, meant):
    with pytest.raises(PfsrError, match=f"method '{typed}' is unknown; did you mean '{meant}"):
        find_method(typed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('kind = "run"', "about: Field required"),
        ('about = "x"\nkind = "walk"', "kind: Input should be"),
        ('about = "x"\nkind = "run"\nrate = 3', "rate: no such key"),
        ('about = "x"\nkind = "run"\nname = "y"', "name: no such key"),
        ('about = "x"\nkind = "rule"', "needs rule"),
        ('about = "x"\nkind = "rule"\nrule = "markov"\n[settings.model]\nblocks = 1', "has no settings"),
        ('about = "x"\nkind = "scrambled"', "needs of"),
        ('about = "x"\nkind = "scrambled"\nof = "pfsr"\n[settings.model]\nblocks = 1', "has no settings"),
        ('about = "x"\nkind = "ditto"\n[tuning]\nsteps = 1\nrate = 0.1', "needs of"),
        ('about = "x"\nkind = "local"\n[tuning]\nsteps = 0\nrate = 0.1', "tuning.steps: "),
        ('about = "x"\nkind = "run"\nof = "pfsr"', "has no of"),
        ('about = "x"\nkind = "run"\n[settings]\nseed = 3', "settings.seed is the recipe's"),
        ('about = "x"\nkind = "run"\n[settings.data]\nsplit = "time"', "settings.data is the recipe's"),
        ("about", "not a method file"),
    ],
)
def test_a_wrong_method_file_is_one_line(text, words, own_method):
    path = own_method("mine", text)
    with pytest.raises(PfsrError) as told:
        read_method(path)
    assert words in str(told.value)
    assert str(told.value).startswith(f"method {path}: ")
    assert "\n" not in str(told.value)


def test_a_missing_file_is_told():
    with pytest.raises(PfsrError, match=r"none\.toml: no such file"):
        find_method("none.toml")


def test_a_wrong_setting_names_the_method(own_method):
    path = own_method("mine", 'about = "x"\nkind = "run"\n[settings.federated]\nronds = 3')
    with pytest.raises(PfsrError, match=r"method mine: federated\.ronds: no such setting"):
        made_of(find_method(str(path)), {}, 0)
