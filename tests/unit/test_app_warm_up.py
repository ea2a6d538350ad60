"""What a live step calls is compiled before the first one: compiling for seconds would look like a hang."""

from __future__ import annotations

import ast
import subprocess
import sys

from tests.support.source import ROOT, Function, dotted, functions, modules, tree_of, uses

#: Kernels that Python calls and the warm-up does not, each with the reason why no live step calls it.
NEVER_LIVE = {
    "risk.var.scenario_pnl": "by itself for marginal VaR alone: of the report at the end, and of astra risk",
    "strategies.dickey_fuller.residuals": "by itself for astra screen alone",
}

_COLD = """
import engine.app.live.run
from engine.app.live.warm_up import warm_up
from engine.kernel import KERNELS
warm_up()
print(*(name for name, kernel in KERNELS.items() if not kernel.signatures))
"""


def _kernels(tree: ast.Module) -> list[Function]:
    return [
        function
        for function in functions(tree)
        for decorator in function.decorator_list
        if any(use.name == "engine.kernel.kernel" for use in uses(tree, decorator))
    ]


def called_from_python(names: set[str]) -> set[str]:
    """Return those of some kernels that the product speaks of outside its kernels."""
    last, spoken = {name.rpartition(".")[2] for name in names}, set()
    for path in modules():
        tree = tree_of(path)
        bodies = {node for kernel in _kernels(tree) for node in ast.walk(kernel)}
        for node in ast.walk(tree):
            word = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
            if word in last and node not in bodies and isinstance(getattr(node, "ctx", None), ast.Load):
                found = {use.name for use in uses(tree, node)}
                spoken |= found | {f"{dotted(path)}.{name}" for name in found}
    return spoken & names


def test_after_the_warm_up_no_kernel_of_a_live_step_is_left_to_compile() -> None:
    """A fresh process, as ``astra run`` is: what only other kernels call has been compiled with them."""
    done = subprocess.run([sys.executable, "-c", _COLD], cwd=ROOT, capture_output=True, text=True, check=True)
    assert called_from_python(set(done.stdout.split())) == NEVER_LIVE.keys()
