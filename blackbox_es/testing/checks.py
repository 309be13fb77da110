"""What all checks share: a law, its cost, a run within a budget, and a report.

A check is a function of a bench. The bench holds what is tested (the subject) and counts what the
tests cost. A check that finds its law broken calls `broken` with the smallest example it has; one
that cannot say anything calls `skip`. It returns findings for the report, or nothing.
"""

from __future__ import annotations

import html
import os
import random
import time
import unittest
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np

from blackbox_es._validation import check_choice, check_count

__tracebackhide__ = True  # pytest shows the caller's code, not ours

_NOBODYS_SEED = 2_718_281_828  # so that code that seeds is seen to have changed the state

Result = dict[str, Any]
Findings = dict[str, Any]
# Name and reason of each check that may fail, or a function of the subject that returns them.
Expected = Mapping[str, str] | Callable[[Any], Mapping[str, str]] | None


class Bench(Protocol):
    """What a check is given."""

    subject: Any
    unit: str  # of what is counted
    spent: int


class CheckFailed(AssertionError):
    """A law is broken. The first line says which, then comes an example, then what to do."""

    __module__ = "blackbox_es.testing"  # as it is imported


class _Broken(Exception):
    def __init__(self, example: Mapping[str, Any], advice: str | None) -> None:
        super().__init__(example)
        self.example, self.advice = example, advice


def broken(
    *, advice: str | None = None, cause: BaseException | None = None, **example: Any
) -> NoReturn:
    """The law does not hold: here is an example, name by name."""
    raise _Broken(example, advice) from cause


def skip(why: str) -> NoReturn:
    """The check cannot say anything."""
    raise unittest.SkipTest(why)


@dataclass(frozen=True)
class Check:
    """One law, what to do if it is broken, and what it costs to see.

    Parameters
    ----------
    function : callable
        ``function(bench) -> findings or None``; the first line of its docstring is the law.
    cost : callable
        ``cost(bench) -> int``: at most so much is spent, in the bench's unit.
    advice : str
    needs : tuple of str
        Names of checks: if one of them has failed, this one says nothing new.
    applies : callable
        ``applies(bench) -> bool``: whether there is anything to check.
    """

    function: Callable[[Any], Findings | None]
    cost: Callable[[Any], int]
    advice: str
    needs: tuple[str, ...] = ()
    applies: Callable[[Any], bool] = lambda bench: True

    @property
    def name(self) -> str:
        """As in ``expected_failed_checks``."""
        return self.function.__name__

    @property
    def law(self) -> str:
        """What should be true, in one line."""
        return (self.function.__doc__ or "").partition("\n")[0].rstrip(".")

    def __call__(self, bench: Bench) -> Findings:
        """The findings.

        Raises
        ------
        CheckFailed
            If the law is broken.
        unittest.SkipTest
            If nothing can be said.
        """
        try:
            return self.function(bench) or {}
        except _Broken as found:
            example = "\n".join(
                f"    {name.replace('_', ' ')}: {shown(value)}"
                for name, value in found.example.items()
            )
            message = (
                f"{self.law}: violated.\n{example}\n    what to do: {found.advice or self.advice}"
            )
            raise CheckFailed(f"{self.name}: {message}") from found.__cause__


def enrol(checks: list[Check]) -> Callable[..., Callable[[Any], Any]]:
    """A decorator that adds a function to the checks."""

    def add(
        *,
        advice: str,
        cost: int | Callable[[Any], int] = 0,
        needs: Sequence[str] = (),
        applies: Callable[[Any], bool] = lambda bench: True,
    ) -> Callable[[Any], Any]:
        def decorate(function: Callable[[Any], Findings | None]) -> Callable[..., Any]:
            price = cost if callable(cost) else lambda bench: cost
            checks.append(Check(function, price, advice, tuple(needs), applies))
            return function

        return decorate

    return add


@contextmanager
def kept_world(seed: int | None) -> Iterator[None]:
    """What is global in the process is as it was afterwards; random generators begin at the seed.

    So code that uses them gives the same report each time, and a report disturbs nobody.
    """
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    directory, environment = os.getcwd(), dict(os.environ)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        with warnings.catch_warnings(), np.errstate(), np.printoptions():
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002
        if os.getcwd() != directory:
            os.chdir(directory)
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)


class Course:
    """Checks, one after the other, within a budget: what earlier ones found and spent counts."""

    def __init__(
        self,
        bench: Bench,
        checks: Iterable[Check],
        names: Iterable[str] | None,
        budget: int,
        expected_failed_checks: Expected,
    ) -> None:
        check_count("budget", budget)
        self.bench = bench
        self.budget = budget
        if callable(expected_failed_checks):
            expected_failed_checks = expected_failed_checks(bench.subject)
        self.expected = dict(expected_failed_checks or {})
        self.checks = list(checks)
        known = [check.name for check in self.checks]
        wanted = known if names is None else list(names)
        for argument, given in (("checks", wanted), ("expected_failed_checks", self.expected)):
            for name in given:
                if name not in known:
                    raise ValueError(f"{argument}: no check {name!r} here: {', '.join(known)}")
        self.checks = [c for c in self.checks if c.name in wanted and c.applies(bench)]
        self._failed: set[str] = set()

    def attempt(self, check: Check) -> Findings:
        """The findings of a check; raises as a check does, or SkipTest if there is no budget."""
        for name in check.needs:
            if name in self._failed:
                skip(f"{name} failed")
        cost, left = check.cost(self.bench), self.left
        if cost > left:
            skip(f"costs {cost} {self.bench.unit}; {left} of {self.budget} are left")
        try:
            with kept_world(_NOBODYS_SEED):
                return check(self.bench)
        except CheckFailed:
            self._failed.add(check.name)
            raise

    @property
    def left(self) -> int:
        """What may still be spent."""
        return max(self.budget - self.bench.spent, 0)

    def steps(self) -> Iterator[tuple[Any, Step]]:
        """The subject and each check as a function of it, for a test runner."""
        return ((self.bench.subject, Step(self, check)) for check in self.checks)

    def run(
        self,
        title: str,
        on_fail: str | None,
        callback: Callable[..., Any] | None,
        subject: Any = None,
    ) -> CheckReport:
        """All checks, to the end; the report is titled with the name of the subject."""
        check_choice("on_fail", on_fail, ("raise", "warn", None))
        begun = time.perf_counter()
        subject = self.bench.subject if subject is None else subject
        name = getattr(subject, "__name__", type(subject).__name__)
        report = CheckReport(f"{title}({name})", self.bench.unit)
        for check in self.checks:
            spent = self.bench.spent
            exception: BaseException | None = None
            findings: Findings = {}
            try:
                findings, status = self.attempt(check), "passed"
            except unittest.SkipTest as skipped:
                exception, status = skipped, "skipped"
            except CheckFailed as failed:
                exception = failed
                status = "xfail" if check.name in self.expected else "failed"
            result = {
                "subject": self.bench.subject,
                "check_name": check.name,
                "exception": exception,
                "status": status,
                "expected_to_fail": check.name in self.expected,
                "expected_to_fail_reason": self.expected.get(check.name),
                "law": check.law,
                "cost": self.bench.spent - spent,
                "findings": findings,
            }
            report.results.append(result)
            if callback is not None:
                callback(**result)
        report.spent, report.seconds = self.bench.spent, time.perf_counter() - begun
        if on_fail == "raise":
            report.raise_for_failures()
        elif on_fail == "warn":
            for name in report.failed:
                warnings.warn(str(report[name]["exception"]), RuntimeWarning, stacklevel=3)
        return report


@dataclass(frozen=True, repr=False)
class Step:
    """A check that knows its course: call it with the subject, as scikit-learn's checks are."""

    course: Course
    check: Check

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.check.name

    def __repr__(self) -> str:
        return self.name

    def __call__(self, subject: Any = None) -> None:
        """Run it; raises if the law is broken or nothing can be said."""
        self.course.attempt(self.check)


@dataclass
class CheckReport(Sequence[Result]):
    """The results of all checks, in their order.

    Iterating gives the results, dicts shaped like those of `sklearn.utils.estimator_checks`:
    ``check_name``, ``status`` ("passed", "failed", "xfail", "skipped"), ``exception``,
    ``expected_to_fail``, ``expected_to_fail_reason``, and ``subject``, ``law``, ``cost``,
    ``findings``. ``report[name]`` is the result of one check.

    Attributes
    ----------
    findings : dict
        What was measured, by name.
    failed : list of str
        Names of the checks that failed and were not expected to.
    spent : int
        In ``unit``: evaluations of the objective, for example.
    seconds : float
    """

    title: str
    unit: str
    results: list[Result] = field(default_factory=list)
    spent: int = 0
    seconds: float = 0.0

    @property
    def findings(self) -> Findings:
        """What was measured, by name."""
        return {name: value for r in self.results for name, value in r["findings"].items()}

    @property
    def failed(self) -> list[str]:
        """The checks that failed unexpectedly."""
        return [r["check_name"] for r in self.results if r["status"] == "failed"]

    def raise_for_failures(self) -> None:
        """Raise `CheckFailed` with all failures, if there are any."""
        if self.failed:
            texts = [str(self[name]["exception"]) for name in self.failed]
            first = self[self.failed[0]]["exception"]
            head = f"\n{len(texts)} checks of {self.title} failed" if len(texts) > 1 else ""
            raise CheckFailed("\n\n".join(texts) + head) from first.__cause__

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return next(r for r in self.results if r["check_name"] == key)
        return self.results[key]

    def _summary(self) -> str:
        counts = [
            f"{count} {status}"
            for status in ("passed", "failed", "xfail", "skipped")
            if (count := sum(r["status"] == status for r in self.results))
        ]
        return f"{', '.join(counts)}; {self.spent} {self.unit}, {self.seconds:.2f} s"

    def __repr__(self) -> str:
        width = max((len(r["check_name"]) for r in self.results), default=0)
        lines = [f"{self.title}: {self._summary()}", ""]
        for r in self.results:
            name, status = r["check_name"], r["status"]
            mark = {"passed": "ok", "failed": "FAILED"}.get(status, status)
            note = r["law"]
            if status == "skipped":
                note = str(r["exception"])
            elif status == "xfail":
                note = f"expected: {r['expected_to_fail_reason']}"
            lines.append(f"  {mark:8}{name:{width}}  {note}")
        if self.findings:
            lines += ["", "  found"]
            wide = max(map(len, self.findings))
            lines += [f"    {name:{wide}}  {shown(value)}" for name, value in self.findings.items()]
        for name in self.failed:
            lines += ["", str(self[name]["exception"])]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        color = {"passed": "#2a7f3f", "failed": "#b3261e", "xfail": "#8a6d00", "skipped": "#666"}
        rows = []
        for r in self.results:
            text = html.escape(str(r["exception"] or r["law"]))
            cells = (
                f"<td style='color:{color[r['status']]}'><b>{r['status']}</b></td>",
                f"<td><code>{html.escape(r['check_name'])}</code></td>",
                f"<td style='text-align:left;white-space:pre-wrap'>{text}</td>",
            )
            rows.append(f"<tr>{''.join(cells)}</tr>")
        found = "".join(
            f"<tr><td>{html.escape(name)}</td><td style='text-align:left'>"
            f"{html.escape(shown(value))}</td></tr>"
            for name, value in self.findings.items()
        )
        title = f"<p><b>{html.escape(self.title)}</b>: {html.escape(self._summary())}</p>"
        return f"{title}<table>{''.join(rows)}</table>" + (
            f"<table>{found}</table>" if found else ""
        )


def shown(value: Any) -> str:
    """A value on one line, long arrays shortened, floats with all their digits."""
    if isinstance(value, np.ndarray):
        text = np.array2string(value, threshold=8, edgeitems=3, separator=", ", floatmode="unique")
        shape = f"  (shape {value.shape})" if value.size > 8 or value.ndim != 1 else ""
        return " ".join(text.split()) + shape
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str) else " ".join(repr(value).split())


def parametrize(name: str, courses: Mapping[str, Course]) -> Any:
    """A pytest decorator: one test for each subject and check."""
    import pytest

    cases = []
    for label, course in courses.items():
        for subject, step in course.steps():
            reason = course.expected.get(step.name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason)]
            case = pytest.param(subject, step, id=f"{label}-{step.name}", marks=marks)
            cases.append(case)
    return pytest.mark.parametrize(f"{name}, check", cases)
