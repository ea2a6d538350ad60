"""Two runs on a page: what differs, by how much, and whether there was anything to compare."""

from engine.app.replay.run_figures import compare, show

ONE = {
    "bars": 11_700,
    "signals": 3,
    "fills": 2,
    "pnl_usd": -2_017.787,
    "sharpe": None,
    "sharpe_reason": "5 sessions (needs 20)",
    "notes": [{"strategy": "kalman", "spread": "JPM/C", "note": "calibrated", "delta": 3.36e-09}],
    "seconds": 1.5,
    "digest": "0123456789abcdef" * 4,
    "holding_usd": {"GS": 978_235.955, "MS": -991_668.664},
    "strategies": {"kalman": {"trades": 2, "win_rate": 0.5}},
}


def test_only_what_differs_is_written_in_100_columns() -> None:
    """A page of figures that are the same hides the two that are not."""
    two = ONE | {
        "pnl_usd": -467.763,
        "seconds": 9.0,
        "digest": "f" * 64,
        "holding_usd": {},
        "strategies": {"kalman": {"trades": 3, "win_rate": 0.5}},
        "notes": [{"strategy": "kalman", "spread": "JPM/C", "note": "calibrated", "delta": 4e-09}],
    }
    lines = compare(ONE, two, ("a" * 90, "two")).splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split() for line in lines[1:]] == [
        ["pnl_usd", "-2,017.79", "-467.76", "+1,550.02"],
        ["digest", "0123456789abcdef01234…", "fffffffffffffffffffff…", "differs"],
        ["notes", "kalman", "JPM/C"],
        ["delta", "3.4e-09", "4e-09", "+6.4e-10"],
        ["holding_usd"],
        ["GS", "978,235.95", "-", "differs"],
        ["MS", "-991,668.66", "-", "differs"],
        ["strategies", "kalman"],
        ["trades", "2", "3", "+1"],
        [],
        ["7", "further", "figures", "the", "same"],
    ]


def test_equal_digests_say_what_they_are_over() -> None:
    """Two runs that never traded are equal, and that proves nothing."""
    assert compare(ONE, ONE, ("a", "b")).endswith("the digests are equal: both decided the same\n")
    idle = ONE | {"signals": 0, "fills": 0}
    assert "over 0 signals and 0 fills: nothing was decided" in compare(idle, idle, ("a", "b"))
    assert "nothing was decided" not in compare(idle, ONE | {"digest": "b"}, ("a", "b"))


def test_a_section_that_differs_everywhere_is_cut() -> None:
    """A book of hundreds of names must not bury the rest; the whole of it is in --json."""
    many = ONE | {"holding_usd": {f"S{k}": 1.0 for k in range(100)}}
    text = compare(ONE | {"holding_usd": {}}, many, ("a", "b"))
    assert "and 80 more: --json" in text
    assert "S19 " in text
    assert "S20 " not in text


def test_show_writes_every_figure_on_a_line_of_its_own() -> None:
    """Nested figures are read like the others."""
    lines = [line.split() for line in show(ONE, "runs/a").splitlines()]
    assert ["digest", ONE["digest"]] in lines
    assert ["MS", "-991,668.66"] in lines
    assert ["sharpe", "-"] in lines
