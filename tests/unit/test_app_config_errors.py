"""What a user reads when a configuration is wrong: golden texts in tests/goldens/errors."""

from pathlib import Path

import pytest

from engine.app.config.errors import located, symbols_absent
from engine.app.config.load import load, parse
from engine.errors import AstraError, ConfigError, DataError, Errors
from tests.support.app import assert_golden

pytestmark = pytest.mark.usefixtures("kinds")

GOOD = """\
[feed]
path = "data/bars.csv"

[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C", "GS/MS"]
"""


def refusal(text: str, *overrides: str) -> AstraError:
    with pytest.raises(AstraError) as caught:
        parse(text, Path("/desk"), overrides=overrides)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unknown_key", GOOD + "\n[risk]\nvar_limt_usd = 150000\n"),
        ("unknown_key_elsewhere", GOOD + "\n[risk]\nfee_bps = 0.2\n"),
        ("unknown_table", GOOD + "\n[rsik]\nseed = 7\n"),
        ("wrong_type", GOOD + '\n[risk]\nvar_limit_usd = "150000"\n'),
        ("negative_limit", GOOD + "\n[risk]\nvar_limit_usd = -150000\n"),
        ("nan_limit", GOOD + "\n[risk]\nvar_limit_usd = nan\n"),
        ("bool_for_number", GOOD + "\n[risk]\nseed = true\n"),
        ("unknown_kind", GOOD.replace("kalman_pairs", "kalman_pair")),
        ("missing_kind", GOOD.replace('kind = "kalman_pairs"\n', "")),
        ("bad_pair", GOOD.replace("GS/MS", "GSMS")),
        ("union", GOOD + 'noise = "calibrat"\n'),
        ("inside_union", GOOD + "noise = {delta = -1.0}\n"),
        ("syntax", GOOD + "\n[risk\nseed = 7\n"),
        ("missing_path", GOOD.replace('path = "data/bars.csv"\n', "")),
        ("no_strategy", '[feed]\npath = "bars.csv"\n'),
        (
            "repeated_name",
            GOOD + 'name = "a"\n\n[[strategy]]\nkind = "zscore_pairs"\npairs = ["KO/PEP"]\nname = "a"\n',
        ),
        ("outside_universe", GOOD + '\n[universe]\nsymbols = ["JPM", "C", "GS", "M"]\n'),
        ("option_of_none", GOOD + '\n[allocator]\nkind = "none"\nevery_min = 30\n'),
        (
            "several",
            GOOD.replace("GS/MS", "GSMS") + "\n[risk]\nseed = -1\nvar_limt_usd = 1\n[costs]\nfee_bps = 9e9\n",
        ),
    ],
)
def test_says_what_where_why_and_what_to_do(name: str, text: str) -> None:
    """The text is the product's manners; a change of it must be a decision."""
    assert_golden(name, refusal(text))


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("set_unknown_key", "risk.var_limt_usd=5"),
        ("set_negative", "risk.var_limit_usd=-5"),
        ("set_no_value", "risk"),
        ("set_no_element", "strategy.3.entry_z=2"),
    ],
)
def test_an_override_is_judged_like_the_file(name: str, override: str) -> None:
    """A limit mistyped on the command line is as dangerous as one in the file."""
    assert_golden(name, refusal(GOOD, override))


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    """Fixing one error only to meet the next wastes a user's time."""
    text = "[risk]\nseed = -1\nconfidence = 2\n" + GOOD.replace("GS/MS", "GSMS") + "[costs]\nfee = 1\n"
    error = refusal(text)
    assert isinstance(error, Errors)
    assert [one.where for one in error.errors] == [f"astra.toml:{line}" for line in (2, 3, 9, 11)]


def test_a_missing_file_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command of a new user runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(Path("astra.toml"))
    assert_golden("missing_file", caught.value)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A binary file given by mistake must not end in a traceback."""
    path = tmp_path / "astra.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.code == "C015"


def test_the_file_is_named_as_the_user_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the working folder a relative name is shown, elsewhere the whole path."""
    path = tmp_path / "desk" / "astra.toml"
    path.parent.mkdir()
    path.write_text("[[strategy]]\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Errors) as inside:
        load(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(Errors) as outside:
        load(path)
    assert {one.where.partition(":")[0] for one in inside.value.errors} == {str(Path("desk") / "astra.toml")}
    assert {one.where.partition(":")[0] for one in outside.value.errors} == {str(path)}


def test_a_symbol_that_the_data_lack_is_located() -> None:
    """The configuration names the symbol, the data lack it: the user needs both places."""
    config = parse(GOOD.replace("GS/MS", "BRKB/MS"), Path("/desk"))
    present = ["BRK.B", "C", "GS", "JPM", "KO", "MS"]
    errors = symbols_absent(config.source, config.symbol_paths, present, "data/bars.csv")
    assert errors is not None
    assert errors.exit_code == 3
    assert_golden("symbol_not_in_data", errors)
    assert symbols_absent(config.source, config.symbol_paths, [*present, "BRKB"], "data/bars.csv") is None


def test_an_error_that_names_a_key_gets_its_line() -> None:
    """Errors of the data are raised far from the file, yet the user must find the key."""
    config = parse(GOOD, Path("/desk"))
    with pytest.raises(DataError) as caught, located(config.source):
        raise DataError("D001", "no bars", "feed.path")
    assert caught.value.where == "astra.toml:2   feed.path"
