"""The compiled program is the stated one."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from engine.ports import AllocatorContext
from strategies.allocators import rebalance
from strategies.allocators.mean_variance import (
    MeanVariance,
    MeanVarianceOptions,
    MultiPeriodOptions,
    multi_period,
)
from strategies.allocators.program import Structure, compile_program, disjoint, state_program
from tests.support.allocation import layout_of, problem_of, random_problem


@pytest.mark.parametrize(
    "structure",
    [
        disjoint(4),
        Structure(3, (0, 1), (1, 2), (1,)),
        Structure(3, (0, 1), (1, 2), (1,), steps=3, ends_flat=True),
        Structure(2, (0,), (1,), n_days=5),
    ],
)
def test_the_statement_is_dpp(structure: Structure) -> None:
    """Without DPP cvxpy would freeze parameters into the compiled program, in silence."""
    assert state_program(structure).problem.is_dcp(dpp=True)


@pytest.mark.parametrize("seed", [1, 2, 3, 5, 8, 13, 21, 34])
def test_the_compiled_map_gives_the_answer_of_cvxpy(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The affine map is read from cvxpy's internals; if they change, this fails before any book does."""
    seen = []

    def spy(structure: Structure) -> object:
        program = compile_program(structure)

        class Spy:
            statement, triangle = program.statement, program.triangle

            def solve(self, vector: np.ndarray, settings: dict[str, object]) -> object:
                answer = program.solve(vector, settings)
                seen.append((program, vector, answer))
                return answer

        return Spy()

    monkeypatch.setattr(rebalance, "compile_program", spy)
    problem = random_problem(seed, is_shared=seed % 2 == 0, is_tight=False)
    MeanVariance(MeanVarianceOptions(), AllocatorContext(problem.layout, 390)).allocate(problem)
    for program, vector, (status, v) in seen:
        statement = program.statement
        statement.theta.value, statement.risk.value = vector[:-2], vector[-2]
        statement.problem.solve(solver=cp.CLARABEL, warm_start=False)
        used = np.flatnonzero(vector[statement.parts["column_y"]])
        assert status == "Solved"
        assert v[used] == pytest.approx(statement.v.value[used], abs=1e-5)
    assert seen


def test_a_program_is_compiled_once() -> None:
    """Compiling takes a hundred times as long as solving."""
    assert compile_program(disjoint(4)) is compile_program(disjoint(4))


NAMES = ["A", "B/C", "D", "E", "F", "G", "H"]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_outrights_have_the_same_answer_in_either_program(
    monkeypatch: pytest.MonkeyPatch, seed: int, steps: int
) -> None:
    """Three of seven are wanted: four slots, or, once what is idle is left out, the program of all three."""
    compiled = []
    monkeypatch.setattr(rebalance, "compile_program", lambda s: (compiled.append(s), compile_program(s))[1])
    rng = np.random.default_rng(seed)
    names = layout_of(NAMES).symbols
    loads = rng.normal(0.0, 0.01, (len(names), 3))
    covariance = loads @ loads.T + np.diag(rng.uniform(0.005, 0.02, len(names)) ** 2)
    side, forecast, held = rng.choice([-1.0, 1.0], 3), rng.uniform(0.0005, 0.003, 3), rng.uniform(0.0, 0.2, 3)
    found = []
    for pairs in (NAMES, NAMES[:3]):
        layout = layout_of(pairs)
        n, known = len(pairs), len(layout.symbols)
        wanted, ratio = np.zeros(n), np.array([1.0 if "/" in pair else 0.0 for pair in pairs])
        wanted[:3] = side
        returns = np.zeros(n)
        returns[:3] = side * forecast
        legs = np.zeros((n, 2))
        legs[:3, 0] = side * held
        legs[1, 1] = -legs[1, 0]
        given = problem_of(
            layout,
            side=wanted,
            usd_ratio=ratio,
            expected_return_frac=returns,
            held_leg_frac=legs.ravel(),
            covariance_daily=covariance[:known, :known],
        )
        options = MultiPeriodOptions(net_max_frac=0.3, steps=steps)
        targets = multi_period(options, AllocatorContext(layout, 390)).allocate(given)
        assert targets.status == "optimal"
        found.append(targets)
    small, whole = found
    assert [len(structure.y) for structure in compiled] == [4, 3]
    assert small.objective == pytest.approx(whole.objective, abs=1e-8)
    assert small.leg_frac[:6] == pytest.approx(whole.leg_frac, abs=2e-5)
    assert not small.leg_frac[6:].any()
