"""The compiled program is the stated one."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from engine.ports import AllocatorContext
from strategies.allocators import rebalance
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions
from strategies.allocators.program import Structure, compile_program, disjoint, state_program
from tests.support.allocation import random_problem


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
