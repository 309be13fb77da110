"""Which planted faults the tests find: mutation testing of the modules that compute.

    python tests/benchmarks/mutants.py --out results                 # or go on
    python tests/benchmarks/mutants.py --out results --unit samplers --again
    python tests/benchmarks/mutants.py --out results --table
    python tests/benchmarks/mutants.py --out results --survivors

A unit is a few modules and the test files that speak of them. A mutant is one small change of one
module: a comparison, an operator, a constant, a condition turned around, a statement left out, two
arguments exchanged. Each runs the unit's tests, up to the first that fails, in a process forked
from one that has imported all libraries but not the package, so that any line can be changed:
constants and defaults of parameters, too. What takes twice the processor time of the sound
package, and ten seconds, counts as found: it hangs.

Mutants are drawn by a hash of what they change, `--sample` of them from each unit: a larger sample
has the mutants of a smaller one, and an edit elsewhere draws no others. Each result is a line of a
file that is appended to, and is not computed twice unless the module has changed; `--again` runs
survivors anew, with more test files. Kernels that are changed run as plain Python. Messages,
docstrings, types and `__all__` are not changed, nor are arguments of symmetric functions exchanged.
"""

import argparse
import ast
import collections
import contextlib
import copy
import functools
import importlib.abc
import importlib.util
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
import zlib
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Modules, and test files; those about them first, since most mutants are found by these.
UNITS = {
    "samplers": ("samplers/*.py", "samplers orthogonal generation products guided_auto estimates"),
    "generation": ("generation.py", "generation steps estimates"),
    "steps": ("steps.py _run.py", "steps failures faults stopping params"),
    "shaping": ("shaping.py", "shaping failures steps"),
    "optimizers": ("optimizers.py", "optimizers steps schedules params"),
    "strategies": (
        "strategies/*.py",
        "ars pgpe nres natural guided orthogonal guided_auto steps params golden",
    ),
    "adaptive": (
        "strategies/adaptive/*.py",
        "rays adaptive_kernels descent portfolio surrogates golden params adaptive",
    ),
    "gradient_strategy": (
        "gradient_strategy.py natural_strategy.py",
        "steps schedules natural params faults guided golden",
    ),
    "checkpoint": ("checkpoint.py", "checkpoint checkpoint_writing"),
}
# What survives these files meets the others with `--again`.
OTHERS = (
    "steps faults failures stopping evaluation params laws strategies bounds saving guides scale "
    "theory forged resume golden testing_gradients"
)

LIBRARIES = (
    "cma hypothesis.strategies hypothesis.extra.numpy joblib numba numpy pandas pytest "
    "scipy.optimize scipy.stats sklearn.model_selection sklearn.utils.estimator_checks tqdm"
)

OPPOSITE = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.BitXor: [ast.BitAnd],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}


def variants(node, in_body):
    """What may stand in the place of a node, each with a name."""
    new = copy.copy(node)
    match node:
        case ast.Compare(ops=[op, *rest]):
            for other in OPPOSITE[type(op)]:
                yield other.__name__, ast.Compare(node.left, [other(), *rest], node.comparators)
        case ast.BinOp(op=ast.MatMult()):
            yield "swapped @", ast.BinOp(node.right, node.op, node.left)
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp():
            for other in OPPOSITE.get(type(node.op), ()):
                new = copy.copy(node)
                new.op = other()
                yield other.__name__, new
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "dropped " + type(node.op).__name__, node.operand
        case ast.Constant(value=bool(v)):
            yield "flipped", ast.Constant(not v)
        case ast.Constant(value=int(v)):
            yield "+1", ast.Constant(v + 1)
            yield "-1", ast.Constant(v - 1)
        case ast.Constant(value=float(v)):
            yield "+1", ast.Constant(v + 1.0)
            yield "less", ast.Constant(v * 0.8 if v else -1.0)
        case ast.If() | ast.While() | ast.IfExp():
            new.test = ast.UnaryOp(ast.Not(), node.test)
            yield "negated", new
        case ast.Call(args=[first, second, *rest]) if not isinstance(second, ast.Starred):
            new.args = [second, first, *rest]
            yield "swapped arguments", new
        case ast.Subscript(slice=ast.Slice(lower=None, upper=upper, step=None)) if upper:
            new.slice = ast.Slice(upper, None, None)
            yield "other slice", new
        case ast.Return(value=v) if v is not None and ast.unparse(v) != "None":
            yield "returns None", ast.Return(ast.Constant(None))
    if isinstance(node, ast.Call) and node.keywords:
        for i, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                new = copy.copy(node)
                new.keywords = node.keywords[:i] + node.keywords[i + 1 :]
                yield f"without {keyword.arg}=", new
    removable = isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Delete) or (
        isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name)
    )
    if in_body and removable:
        yield "removed", ast.Pass()


def places(tree):
    """Every change of a module, in a fixed order: line, name, a function that makes it."""

    def visit(node):
        for field, child in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
                continue
            items = child if isinstance(child, list) else [child]
            for i, item in enumerate(items):
                if not isinstance(item, ast.AST) or is_prose(item):
                    continue
                for name, other in variants(item, field in ("body", "orelse", "finalbody")):
                    yield item, name, put(node, field, child, i, other)
                if not isinstance(item, ast.Raise) and not warns(item):  # messages are as they are
                    yield from visit(item)

    def put(node, field, child, i, other):
        def change():
            if isinstance(child, list):
                child[i] = other
            else:
                setattr(node, field, other)

        return change

    return list(visit(tree))


def is_prose(node):
    """Docstrings, imports, `__all__`, and types that are only read."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "Array")]):
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
    return False


def warns(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn")


class Finder(importlib.abc.MetaPathFinder, SourceFileLoader):
    """Imports one module with one change."""

    def __init__(self, path, number):
        self.module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        SourceFileLoader.__init__(self, self.module, str(path))
        tree = ast.parse(path.read_text())
        nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        self.imports = [node.module for node in nodes if node.module.startswith("blackbox_es")]
        places(tree)[number][2]()
        self.code = compile(ast.fix_missing_locations(tree), str(path), "exec")

    def find_spec(self, fullname, path, target=None):
        if fullname == self.module:
            return importlib.util.spec_from_file_location(fullname, self.path, loader=self)
        return None

    def get_code(self, fullname):
        return self.code

    def exec_module(self, module):
        from blackbox_es import _jit

        for name in self.imports:  # these are compiled, if they are kernels
            importlib.import_module(name)
        # Numba's disk cache knows nothing of a changed constant.
        disabled, _jit.DISABLED = _jit.DISABLED, True
        try:
            super().exec_module(module)
        finally:
            _jit.DISABLED = disabled


def modules(unit):
    found = [path for p in UNITS[unit][0].split() for path in (ROOT / "blackbox_es").glob(p)]
    return sorted(path for path in found if path.name != "__init__.py")


@functools.cache
def mutants_of(path):
    """What tells each mutant of a module from the others: its place in words, and the module."""
    text = path.read_text()
    lines, seen, found = text.splitlines(), collections.Counter(), []
    for item, name, _ in places(ast.parse(text)):
        code = " ".join(ast.unparse(item).split())[:60]
        line = lines[item.lineno - 1].strip()
        place = f"{path.relative_to(ROOT / 'blackbox_es')}:{item.lineno} {name} [{code}] in: {line}"
        seen[place] += 1
        found.append(f"{place} #{seen[place]} {zlib.crc32(text.encode()):08x}")
    return found


def is_the_same(name):
    """Whether a mutant is known to be no change: of symmetric functions, and of messages."""
    symmetric = re.search(
        r" swapped arguments \[(min|max|np\.(maximum|minimum|add|multiply))\(", name
    )
    return bool(symmetric) or " without also= " in name


def sampled(unit, size):
    """Path and number of mutants, in the order in which they are drawn; and how many there are."""
    every = [
        (key(path, k), path, k) for path in modules(unit) for k in range(len(mutants_of(path)))
    ]
    every = [(place.rpartition(" ")[0], path, k) for place, path, k in every]
    every = [
        (zlib.crc32(place.encode()), path, k) for place, path, k in every if not is_the_same(place)
    ]
    return [(path, k) for _, path, k in sorted(every)[:size]], len(every)


def run(unit, mutant, limit, more):
    """Run the tests of a unit in a process of its own: "survived", or what has failed."""
    import pytest

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(reader)
        null = os.open(os.environ.get("MUTANTS_LOG", os.devnull), os.O_WRONLY | os.O_CREAT)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if limit:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(ROOT)
        sys.path[:0] = [str(ROOT)]
        if mutant:
            sys.meta_path.insert(0, Finder(*mutant))

        class Watch:
            def pytest_runtest_logreport(self, report):
                if report.failed:
                    os.write(writer, f"{report.nodeid[:150]}\n".encode())

            def pytest_collectreport(self, report):
                if report.failed:
                    os.write(writer, f"{report.nodeid[:150]}\n".encode())

        names = UNITS[unit][1].split() + (OTHERS.split() if more else [])
        files = [f"tests/test_{name}.py" for name in dict.fromkeys(names)]
        files = [name for name in files if os.path.exists(name)]
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-o", "addopts="]
        options += ["-m", "not slow and not network", "--strict-markers"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        try:
            code = pytest.main(options + files, plugins=[Watch()])
            os.write(writer, f"exit code {code}\n".encode() if code else b"survived\n")
        except BaseException:
            traceback.print_exc()
            os.write(writer, b"no tests were run\n")
        finally:
            os._exit(0)
    os.close(writer)
    alarm = 6 * limit if limit else 3600
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.alarm(alarm)
    with os.fdopen(reader) as file:
        failed = file.readline().strip()
    signal.alarm(0)
    _, status, usage = os.wait4(child, 0)
    with_time = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status) and not failed:
        failed = f"ended by signal {os.WTERMSIG(status)}"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # workers that it has started
    return failed or "ended", with_time


def key(path, number):
    return mutants_of(path)[number]


def rows_of(out):
    """The last result of each mutant."""
    file = out / "mutants.jsonl"
    rows = [json.loads(line) for line in file.open()] if file.exists() else []
    return {row["key"]: row for row in rows}


def interval(k, n):
    from scipy.stats import binomtest

    low, high = binomtest(k, n).proportion_ci(0.95, "exact")
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def table(out, size):
    rows = rows_of(out)
    print("| unit | mutants | drawn | found | share | 95 % interval |\n|---|---|---|---|---|---|")
    for unit in UNITS:
        drawn, total = sampled(unit, size)
        done = [rows[key(*m)] for m in drawn if key(*m) in rows]
        found = sum(row["result"] != "survived" for row in done)
        if done:
            print(
                f"| {unit} | {total} | {len(done)} | {found} | {100 * found / len(done):.0f} % "
                f"| {interval(found, len(done))} |"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--unit", action="append", choices=UNITS)
    parser.add_argument("--sample", type=int, default=80)
    parser.add_argument("--again", action="store_true", help="run survivors anew")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--survivors", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    units = args.unit or list(UNITS)
    rows = rows_of(args.out)
    if args.table:
        return table(args.out, args.sample)
    if args.survivors:
        for unit in units:
            for path, number in sampled(unit, args.sample)[0]:
                if rows.get(key(path, number), {}).get("result") == "survived":
                    print(unit, number, key(path, number))
        return None
    # All that the package and the tests import, so that a fork is ready to run.
    for name in LIBRARIES.split():
        importlib.import_module(name)
    import hypothesis

    hypothesis.settings.register_profile("mutants", database=None, deadline=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    with (args.out / "mutants.jsonl").open("a") as file:
        for unit in units:
            left = [
                m
                for m in sampled(unit, args.sample)[0]
                if key(*m) not in rows or (args.again and rows[key(*m)]["result"] == "survived")
            ]
            if not left:
                continue
            result, seconds = run(unit, None, None, args.again)
            print(f"{unit}: {seconds:.0f} s, the sound package has {result}", flush=True)
            if result != "survived":
                sys.exit("the tests fail without a mutant")
            for path, number in left:
                start = time.monotonic()
                result, _ = run(unit, (path, number), int(2 * seconds) + 10, args.again)
                row = {"key": key(path, number), "unit": unit, "result": result}
                row |= {"seconds": round(time.monotonic() - start, 1)}
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(row["seconds"], result, "|", key(path, number), flush=True)
    return None


if __name__ == "__main__":
    main()
