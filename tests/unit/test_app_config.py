"""The configuration: defaults, overrides, paths, and a resolved text that repeats a run."""

import tomllib
from pathlib import Path

import pytest

from engine.app.config.load import load, parse
from engine.app.config.origin import annotated_toml, count_given, values_of
from engine.app.config.resolved import config_hash, resolved_toml
from engine.app.config.risk import risk_tables
from engine.app.config.schema import json_schema
from engine.app.config.tables import DAEMON, PLAIN
from engine.app.render import render_error
from engine.app.wiring import instruments_of
from engine.errors import ConfigError, Errors

pytestmark = pytest.mark.usefixtures("kinds")

TEXT = """\
[feed]
path = "data/bars.csv"
[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C", "GS/MS"]
[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/KO"]
noise = {delta = 0.5}
[book]
positions = {"BRK.B" = -10}
"""
FOLDER = Path("/desk")


def test_defaults_are_those_of_the_documentation() -> None:
    """A default that moves in silence changes every run that relies on it."""
    config = parse(TEXT, FOLDER)
    risk = config.risk
    assert (risk.var_limit_usd, risk.confidence, risk.horizon_days) == (150_000.0, 0.99, 10)
    assert (risk.scenarios, risk.seed, risk.budget_frac, risk.warn_frac) == (5_000, 7, 0.90, 0.80)
    assert (risk.cov_refresh_min, risk.price_max_age_min, risk.prior_sessions) == (30, 15, 20.0)
    assert (risk.half_life_sessions, risk.half_life_nights) == (5.0, 20.0)
    costs, funding = config.costs, config.funding
    assert (costs.half_spread_bps, costs.impact_bps, costs.fee_bps) == (1.0, 10.0, 0.2)
    assert costs.participation_max_frac == 0.10
    assert (funding.rate_frac, funding.long_spread_bps) == (0.036, 50.0)
    assert (funding.short_spread_bps, funding.borrow_bps) == (25.0, 40.0)
    assert (config.book.equity_usd, config.universe.calendar) == (1_000_000.0, "XNYS")
    assert (config.feed.kind, config.allocator.kind) == ("files", "mean_variance")
    assert config.operator.instance == "astra"
    assert config.redis is config.mqtt is config.alerts is config.console is None


def test_strategies_without_a_name_get_a_unique_one() -> None:
    """Signals are told apart by the name of their strategy."""
    assert [one.name for one in parse(TEXT, FOLDER).strategy] == ["kalman_pairs", "kalman_pairs-2"]


def test_the_universe_is_what_strategies_and_book_name_in_order_of_appearance() -> None:
    """The order of symbols is the order of every array; it must not depend on hashes."""
    assert parse(TEXT, FOLDER).symbols == ("JPM", "C", "GS", "MS", "KO", "BRK.B")
    listed = TEXT + '[universe]\nsymbols = ["BRK.B", "KO", "MS", "GS", "C", "JPM"]\n'
    assert parse(listed, FOLDER).symbols == ("BRK.B", "KO", "MS", "GS", "C", "JPM")


def test_paths_start_from_the_folder_of_the_file() -> None:
    """A configuration must mean the same from whatever folder it is used."""
    config = parse(TEXT + '[risk]\nhistory = "daily.parquet"\n', FOLDER)
    assert config.feed.options.path == Path("/desk/data/bars.csv")  # type: ignore[attr-defined]
    assert config.risk.history == Path("/desk/daily.parquet")
    assert config.output.dir == Path("/desk/runs")


def test_the_resolved_text_resolves_to_itself() -> None:
    """A run folder's config.toml must repeat the run, wherever it is read."""
    config = parse(TEXT, FOLDER)
    text = resolved_toml(config)
    again = parse(text, Path("/elsewhere"))
    assert resolved_toml(again) == text
    assert config_hash(again) == config_hash(config)
    assert again.strategy == config.strategy


def test_the_hash_sees_what_decides_the_result_and_nothing_else() -> None:
    """Two runs with one hash and one data fingerprint must be the same run."""
    base = config_hash(parse(TEXT, FOLDER))
    assert config_hash(parse(TEXT, Path("/another/desk"))) == base
    assert config_hash(parse(TEXT + "[output]\ntrace = true\n", FOLDER)) == base
    assert config_hash(parse(TEXT + '[redis]\nurl = "redis://h"\n', FOLDER)) == base
    assert config_hash(parse(TEXT + "[risk]\nseed = 8\n", FOLDER)) != base
    assert config_hash(parse(TEXT.replace("0.5", "0.6"), FOLDER)) != base


def test_overrides_win_and_are_typed() -> None:
    """--set must do exactly what an edit of the file would."""
    config = parse(
        TEXT,
        FOLDER,
        overrides=[
            "risk.seed=11",
            "strategy.1.entry_z=2.5",
            "allocator.kind=none",
            'book.positions."BF.B"=5',
            'strategy.0.pairs.1="V/MA"',
        ],
    )
    assert config.risk.seed == 11
    assert config.strategy[1].options.entry_z == 2.5  # type: ignore[attr-defined]
    assert config.allocator.options is None
    assert config.book.positions == {"BRK.B": -10.0, "BF.B": 5.0}
    assert config.symbols[:4] == ("JPM", "C", "V", "MA")


def test_an_override_without_a_value_takes_a_key_out() -> None:
    """Keys of one risk model are refused beside another: without this a model could not be tried by --set."""
    text = TEXT + "[risk]\nseed = 8\n"
    with pytest.raises(Errors) as caught:
        parse(text, FOLDER, overrides=["risk.model=historical"])
    assert "--set risk.seed=" in caught.value.errors[0].detail
    config = parse(text, FOLDER, overrides=["risk.model=historical", "risk.seed="])
    assert config.risk.model == "historical"


@pytest.mark.parametrize(
    "text",
    [
        "risk.seed",
        "seed=7",
        "risk..seed=7",
        "=7",
        "feed.path.deep=1",
        "strategy.x.z=1",
        "risk.sed=",
        "strategy.0=",
    ],
)
def test_an_override_that_cannot_be_read_is_refused(text: str) -> None:
    """An override that is silently ignored would be a mistyped limit that is silently ignored."""
    with pytest.raises(ConfigError) as caught:
        parse(TEXT, FOLDER, overrides=[text])
    assert caught.value.code == "C010"
    assert text in caught.value.where


def test_passwords_never_leave() -> None:
    """Run folders are shared; the broker's password must not be."""
    config = parse(TEXT + '[redis]\nurl = "redis://eve:s3cret@host:6379/0"\n', FOLDER)
    text = resolved_toml(config)
    assert "s3cret" not in text
    assert "redis://eve:***@host:6379/0" in text
    assert "s3cret" not in annotated_toml(config)


def test_each_value_names_its_origin() -> None:
    """Who set this limit? is the first question after a halt."""
    config = parse(TEXT, FOLDER, overrides=["risk.seed=11"])
    lines = annotated_toml(config).splitlines()
    assert any(line.startswith("seed = 11 ") and line.endswith("# --set risk.seed=11") for line in lines)
    assert any(line.startswith("pairs = ") and line.endswith("# astra.toml:5") for line in lines)
    assert any(line.startswith("confidence = ") and line.endswith("# default") for line in lines)
    assert tomllib.loads("\n".join(lines)) == tomllib.loads(resolved_toml(config))
    total, given = count_given(config)
    assert total == len(list(values_of(config)))
    assert given == 8


def test_a_configuration_cannot_be_changed() -> None:
    """A limit changes by a signed command, never by an assignment."""
    config = parse(TEXT, FOLDER)
    with pytest.raises(ValueError, match="frozen"):
        config.risk.var_limit_usd = 1.0


def test_every_key_is_described() -> None:
    """The description is the reference manual and the why of every error."""
    for name, model in {**PLAIN, **DAEMON}.items():
        for key, field in model.model_fields.items():
            assert field.description, f"{name}.{key}"
            assert not field.is_required() or name in DAEMON, f"{name}.{key} has no default"


def test_the_schema_knows_every_kind_and_refuses_unknown_keys() -> None:
    """An editor that accepts what the engine refuses is worse than none."""
    schema = json_schema()
    assert schema["additionalProperties"] is False
    kinds = {branch["properties"]["kind"]["const"] for branch in schema["properties"]["allocator"]["oneOf"]}
    assert kinds == {"mean_variance", "direct", "none"}
    for branch in schema["properties"]["strategy"]["items"]["oneOf"]:
        assert branch["additionalProperties"] is False
        assert {"kind", "pairs"} <= set(branch["required"])
        assert {"kind", "name", "pairs", "entry_z"} <= set(branch["properties"])
    [files] = schema["properties"]["feed"]["oneOf"]
    assert "kind" not in files["required"]


def test_a_relative_override_file_is_read(tmp_path: Path) -> None:
    """``load`` resolves the folder of the file itself, even when it is given relative."""
    (tmp_path / "astra.toml").write_text(TEXT)
    config = load(tmp_path / "astra.toml")
    assert config.output.dir == tmp_path.resolve() / "runs"


def test_daemon_tables_are_checked_as_well() -> None:
    """A broker that is mistyped now must not surprise the daemon later."""
    with pytest.raises(Errors) as caught:
        parse(TEXT + '[mqtt]\nhost = "h"\nprot = 1\n', FOLDER)
    assert [(one.code, one.where) for one in caught.value.errors] == [("C001", "astra.toml:14")]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ('[redis]\nurl = "localhost:6379"\n', "redis.url must be like redis://127.0.0.1:6379"),
        ('[redis]\nurl = "redis://h:port"\n', "redis.url must be like redis://127.0.0.1:6379"),
        ('[redis]\nurl = "redis://h"\nca_file = "ca.pem"\n', "redis.ca_file is for TLS: url must begin with"),
        ('[mqtt]\nhost = "h"\ncert_file = "own.pem"\n', "mqtt.cert_file is for TLS: name ca_file too"),
        (
            '[mqtt]\nhost = "h"\nca_file = "ca.pem"\nkey_file = "own.key"\n',
            "mqtt.key_file is that of cert_file",
        ),
    ],
)
def test_half_a_secure_link_is_refused(table: str, what: str) -> None:
    """A link that silently is not TLS would send its password in the clear; a bad address ends a run."""
    with pytest.raises(Errors) as caught:
        parse(TEXT + table, FOLDER)
    [fault] = caught.value.errors
    assert fault.code == "C005"
    assert fault.what.startswith(what)


def test_a_name_may_have_its_own_fee_and_income() -> None:
    """The resolved text repeats the run, so it must hold both keys; of other names they are the account's."""
    config = parse(TEXT + "[instruments.C]\nborrow_bps = 2000\nincome_frac = 0.02\n", FOLDER)
    _, c, *_, last = instruments_of(config)
    assert (c.symbol, c.borrow_bps, c.income_frac) == ("C", 2_000.0, 0.02)
    assert (last.symbol, last.borrow_bps, last.income_frac) == ("BRK.B", None, 0.0)
    assert "borrow_bps = 2000.0, income_frac = 0.02," in resolved_toml(config)
    assert config_hash(parse(resolved_toml(config), FOLDER)) == config_hash(config)


def test_a_future_has_neither_fee_nor_income() -> None:
    """Its price has both already: counting them again would pay a carry that nobody receives."""
    future = '[instruments.C]\nkind = "future"\n'
    with pytest.raises(Errors) as caught:
        parse(TEXT + future + "borrow_bps = 40\nincome_frac = 0.02\n", FOLDER)
    assert [(fault.code, fault.what) for fault in caught.value.errors] == [
        ("C011", "instruments.C.borrow_bps must be left out: C is a future"),
        ("C011", "instruments.C.income_frac must be left out: C is a future"),
    ]
    said = render_error(caught.value)
    assert " 14 | borrow_bps = 40" in said
    assert "its carry, dividends included, is in its price" in said
    config = parse(TEXT + future, FOLDER)
    assert parse(resolved_toml(config), FOLDER).instruments == config.instruments  # defaults are no fault


def test_each_risk_model_has_its_own_keys() -> None:
    """A key of another model is refused with the model it belongs to, and every key is described."""
    risk = parse(TEXT + '[risk]\nmodel = "filtered_historical"\nwindow_days = 300\nseed = 8\n', FOLDER).risk
    assert (risk.window_days, risk.seed, risk.refit_sessions, risk.var_limit_usd) == (300, 8, 20, 150_000.0)
    assert all(field.description for table in risk_tables().values() for field in table.model_fields.values())
    for text, said in (
        ("freedom = 4", 'belongs in [risk] with model = "student_t"'),
        ('model = "historical"\nseed = 3', '"gaussian" or "student_t" or "filtered_historical"'),
        ('model = "historical"\nwindow_days = 250', "at least 299"),
        ('model = "filtered_historical"\nhorizon_days = 2.5', "must be whole days"),
        ('model = "normal"', '"gaussian", "student_t", "historical" or "filtered_historical", was "normal"'),
    ):
        with pytest.raises(Errors) as caught:
            parse(f"{TEXT}[risk]\n{text}\n", FOLDER)
        assert said in render_error(caught.value)


def test_the_hash_knows_the_model_but_not_that_there_are_several() -> None:
    """A journal of the default model continues under a version that offers others."""
    assert config_hash(parse(TEXT + '[risk]\nmodel = "gaussian"\n', FOLDER)) == config_hash(
        parse(TEXT, FOLDER)
    )
    other = parse(TEXT + '[risk]\nmodel = "student_t"\n', FOLDER)
    assert config_hash(other) != config_hash(parse(TEXT, FOLDER))
