"""Imports point one way, and the heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import llrnb

ROOT = Path(llrnb.__file__).parent
# Each module may import from the package only what stands here, and `checks` and `endings`.
MAY_IMPORT = {
    "checks": set(),
    "endings": set(),
    "activations": set(),
    "caching": set(),
    "theory": set(),
    "streams": set(),
    "pictures": set(),
    "stacks": set(),
    "figures": {"pictures"},
    "networks": {"activations", "streams"},
    "deep": {"activations", "networks", "streams"},
    "models": {"networks", "streams"},
    "zoo": {"models", "rank", "streams"},
    "laws": set(),
    "targets": {"networks", "deep", "models", "laws", "streams"},
    "rank": {
        *("activations", "caching", "endings", "networks", "models", "deep", "rank", "streams"),
    },
    "local": {"networks", "rank", "streams"},
    "products": {"networks", "rank", "streams"},
    "embedding": {"activations", "networks", "deep", "rank", "streams"},
    "reduction": {"activations", "networks", "deep", "rank", "theory"},
    "training": {
        "activations",
        "caching",
        "stacks",
        "networks",
        "models",
        "training",
        "streams",
    },
    "least_squares": {"caching", "stacks", "networks", "rank", "training", "least_squares"},
    "condensation": {"activations", "stacks", "networks", "rank", "least_squares"},
    "certificate": {"networks", "rank", "least_squares", "streams"},
    "interpolation": {"stacks", "networks", "rank", "embedding", "least_squares", "certificate"},
    "strategies": {
        *("networks", "least_squares", "condensation", "certificate", "interpolation"),
        *("training", "stacks"),
    },
    "relu": {"relu", "activations", "models", "networks", "training", "streams"},
    "store": {"provenance"},
    "transitions": {"streams"},
    "provenance": set(),
    "descriptions": {"activations", "networks", "targets", "training"},
    "sweep": {
        *("networks", "deep", "targets", "laws", "descriptions", "training", "strategies"),
        *("relu", "store", "provenance", "streams", "stacks", "transitions", "sweep"),
    },
    "interactive": {
        "interactive",
        "networks",
        "deep",
        "rank",
        "embedding",
        "transitions",
        "figures",
        "pictures",
        "streams",
        "stacks",
    },
    "jobs": set(),
    "presets": {
        *("networks", "descriptions", "targets", "theory", "training", "sweep", "zoo", "presets"),
    },
    "__main__": {"provenance", "store", "sweep", "presets"},
}
MAY_USE = {
    "matplotlib": {"figures", "interactive", "pictures"},
    "PIL": {"pictures"},
    "ipywidgets": {"interactive"},
    "numba": {"caching", "training", "rank", "least_squares"},
    "llvmlite": {"training"},
    "pyarrow": {"store"},
    "cvxpy": {"relu"},
    "flint": {"rank"},
    "papermill": {"sweep"},
    "distributed": {"sweep"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_what_is_slow_to_import_waits_until_it_is_used():
    slow = {"cvxpy", "papermill", "distributed", "matplotlib", "torch._dynamo"}
    code = f"import sys, llrnb.sweep; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_names_before_lead_to_what_they_named():
    code = (
        "import llrnb; from llrnb import isometry, plant, pose, recover; "
        "from llrnb.relu.isometry import Isometry, certificate, least_certificate; "
        "from llrnb.relu.splitting import relaxed_splitting; from llrnb import relu; "
        "from llrnb.relu import admm, conditions; "
        "assert (isometry, plant, pose, recover) == (llrnb.relu.isometry, relu.plant, relu.pose, "
        "relu.recover); assert certificate is conditions.certificate; "
        "assert relaxed_splitting is admm.relaxed_splitting; assert callable(relu.isometry)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    module = path.relative_to(ROOT).with_suffix("").parts[0]
    names = imports(path)
    if module != "__init__":
        inner = {name.split(".")[1] for name in names if name.startswith("llrnb.")}
        assert inner - {"checks", "endings"} <= MAY_IMPORT[module]
    for library, modules in MAY_USE.items():
        if any(name.split(".")[0] == library for name in names):
            assert module in modules
