"""The rooms of the package: what may import what, what costs nothing, what is public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import blackbox_es

ROOT = Path(blackbox_es.__file__).parent

# A module imports only from rows above its own, or from its own room.
ROWS = [
    {"_jit", "_config", "_value", "_validation", "_progress", "_threads", "_tables"},
    {
        "noise",
        "_products",
        "shaping",
        "schedules",
        "checkpoint",
        "_dimensions",
        "_encoding",
        "_run",
        "_limits",
        "_leaves",
    },
    {"samplers", "optimizers", "theory", "box", "space", "_carriers", "models"},
    {"tree"},
    {"generation", "_trial", "_workers"},
    {"steps", "evaluation", "_scale"},
    {"_pending", "_record", "_guidance"},
    {"_search"},
    {"_ask_tell", "_codec"},
    {"_trials", "_checkpoints"},
    {"_fit"},
    {"strategy"},
    {"descent_strategy", "natural_strategy"},
    {"gradient_strategy"},
    {"scaled_strategy"},
    {"strategies"},
    {
        "_minimize",
        "diagnostics",
        "neural",
        "problems",
        "model_selection",
        "unrolled",
        "torch",
        "gymnasium",
    },
    {"testing", "plotting", "datasets"},
    {"__init__"},
    {"study"},  # a user of the package like any other, as is
    {"cli"},
    {"__main__"},
]
ROW = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}


def imports(tree):
    """The modules of the package that a module imports, anywhere in its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1:] for name in names if name.split(".")[0] == "blackbox_es")


@pytest.mark.parametrize("module", SOURCES)
def test_imports_only_from_rows_above(module):
    """A module imports from its own room and from rows above its own."""
    room = module.split(".")[0]
    assert room in ROW, f"{room} has no row: give it one"
    for path in imports(SOURCES[module]):
        used = path[0] if path and path[0] in ROW else "__init__"
        assert used == room or ROW[used] < ROW[room], f"{module} imports {'.'.join(path)}"


def test_every_room_exists():
    """And has one row."""
    assert sum(map(len, ROWS)) == len(ROW)
    assert set(ROW) == {module.split(".")[0] for module in SOURCES}


# Of named tuples, which have no public ones by these names
OF_TUPLES = {"_replace", "_asdict", "_fields", "_make"}
# Of other libraries, which offer no public way: Numba's cache could not be guarded against damaged
# files; scikit-learn's check of sample weights, and its way to take rows of anything, would have to
# be written again.
OF_OTHERS = {
    "_jit": {"_cache_file", "_dump", "_load_data", "_data_path"},
    "neural.given": {"_check_sample_weight"},
    "neural.tuning": {"_safe_indexing"},
}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_"


def package(module):
    """The subpackage of a module, or the package itself."""
    return module.rpartition(".")[0]


def definitions(tree):
    """The names that are defined in a module: functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def private_imports(module, node):
    """What is private in an import, but for what is of the same package or common ground."""
    for alias in node.names:
        parts = f"{node.module}.{alias.name}".split(".")
        for i, part in enumerate(parts):
            place = ".".join(parts[1:i])
            home = place if place in PACKAGES else package(place)
            ours = parts[0] == "blackbox_es" and home == package(module)
            common = parts[:i] == ["blackbox_es"] and part in ROWS[0] | ROWS[1]
            if is_private(part) and not ours and not common:
                yield part


PACKAGES = {package(module) for module in SOURCES}
OWN = {
    home: {name for module, tree in SOURCES.items() if package(module) == home
           for name in definitions(tree)}
    for home in PACKAGES
}  # fmt: skip


@pytest.mark.parametrize("module", SOURCES)
def test_no_private_name_crosses_a_border(module):
    """Of what is neither ``self`` nor of the same package a module uses public names only."""
    used = set()
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            inside = ast.unparse(node.value) in {"self", "cls"} or node.attr in OWN[package(module)]
            used |= set() if inside else {node.attr}
        elif isinstance(node, ast.ImportFrom):
            used |= set(private_imports(module, node))
    assert used <= OF_TUPLES | OF_OTHERS.get(module, set())


# Numba's disk cache does not notice an edit in another file, so kernels that call each other are in
# one; the kit is a law beside its check, and the data carry their addresses and checksums.
LONG = {"neural.kernels", "neural.layers.products", "noise", "testing", "datasets"}


@pytest.mark.parametrize("module", SOURCES)
def test_files_and_classes_are_short(module):
    """Modules have less than 300 lines, classes less than 200."""
    if {module, module.split(".")[0]} & LONG:
        return
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert len(path.read_text("utf-8").splitlines()) < 300
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < 199, node.name


def run(code):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=ROOT.parent, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


HEAVY = (
    "numba",
    "scipy",
    "sklearn",
    "joblib",
    "matplotlib",
    "tqdm",
    "hypothesis",
    "pandas",
    "torch",
)


def test_import_is_light():
    """`import blackbox_es` imports nothing heavy, not even what its names need."""
    assert not {*HEAVY, "numpy"} & set(run("import blackbox_es, sys; print(*sys.modules)"))


def test_the_test_kit_is_light():
    """Checks start at once, in worker processes too: they import NumPy only."""
    loaded = set(run("import blackbox_es.testing, sys; print(*sys.modules)"))
    assert {*HEAVY, "numpy", "pytest"} & loaded == {"numpy"}


def test_a_search_imports_no_more_than_it_needs():
    """A serial search needs numpy and numba, which imports a little of SciPy, and no more."""
    code = (
        "import sys; from blackbox_es import GuidedES; "
        "GuidedES(max_iter=2).fit(lambda x: x @ x, [1.0, 2.0], lambda x: x); print(*sys.modules)"
    )
    loaded = set(run(code))
    assert {*HEAVY, "numpy"} & loaded <= {"numpy", "numba", "scipy"}
    assert not {"scipy.optimize", "scipy.special", "scipy.stats"} & loaded


def test_public_names_resolve():
    """`__all__`, `dir` and attribute access agree."""
    public = {name for name in blackbox_es.__all__ if not name.startswith("__")}
    assert public >= set(blackbox_es._HOME)
    assert public <= set(dir(blackbox_es))
    for name in public:
        assert getattr(blackbox_es, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = blackbox_es.nothing


def test_star_import_gives_the_public_names():
    """`from blackbox_es import *` gives `__all__` and no more."""
    code = "import blackbox_es; from blackbox_es import *; print(*globals())"
    public = {name for name in run(code) if not name.startswith("__")} - {"blackbox_es"}
    assert public == {name for name in blackbox_es.__all__ if not name.startswith("__")}


def test_type_checkers_see_the_public_names():
    """What is imported for type checkers is what is imported lazily, from the same homes."""
    seen = {
        alias.asname: node.module
        for node in ast.walk(SOURCES["__init__"])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("blackbox_es")
        for alias in node.names
    }
    assert seen == {name: f"blackbox_es.{home}" for name, home in blackbox_es._HOME.items()}


def test_one_compiler_decorator():
    """Only `_jit` knows numba, so that flags and cache are decided once."""
    users = {
        module
        for module, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "numba" in ast.unparse(node)
    }
    assert users <= {"_jit"}


KEPT = {"seed", "getstate", "setstate", "get_state", "set_state"}  # the test kit puts it back


def test_no_global_randomness():
    """Nothing calls NumPy's global generator or Python's."""
    calls = [
        (module, ast.unparse(node))
        for module, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in {"np.random", "numpy.random", "random"}
        and node.attr not in {"Generator", "RandomState", "default_rng"}
        and not (module.startswith("testing.") and node.attr in KEPT)
    ]
    assert not calls


def test_the_estimator_is_written_once():
    """beta is divided by what makes a sum a gradient in `generation` and nowhere else."""
    homes = {
        module
        for module, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and ast.unparse(node.left) == "beta"
    }
    assert homes == {"generation"}
