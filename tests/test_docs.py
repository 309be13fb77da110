"""README and docs: code runs, outputs shown are printed, quotes are in the source, links lead
somewhere, and what the code has is what the docs speak of.

A fenced block in Python is run; the blocks of a page share a namespace, in order. A comment on the
line before a fence says what else a block is:

    <!-- skip -->            not run
    <!-- source: FILE -->    not run, but lines of that file; a line ``...`` stands for any lines
    <!-- output -->          what the last block that was run has printed
    <!-- output within E --> the same, where numbers with a decimal point may be off by E
"""

import contextlib
import inspect
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_architecture import ROWS

import blackbox_es
from blackbox_es.shaping import SHAPINGS
from blackbox_es.strategies import METHODS
from blackbox_es.strategy import STOP_REASONS
from blackbox_es.testing.gradient_laws import GRADIENT_CHECKS
from blackbox_es.testing.objectives import OBJECTIVE_CHECKS
from blackbox_es.testing.search_laws import SEARCH_CHECKS
from blackbox_es.testing.surrogates import SURROGATE_CHECKS

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
}
every_page = pytest.mark.parametrize("page", PAGES)
GUIDE = PAGES.get("docs/guide.md", "")


@dataclass(frozen=True)
class Block:
    """A fenced block: the line of its fence, its language, the comment before it, its text."""

    line: int
    language: str
    mark: str
    text: str


def blocks(text):
    """The fenced blocks of a page."""
    lines, found, start = text.splitlines(), [], None
    for i, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = i
        else:
            comment = re.fullmatch(r"<!-- (.*) -->", lines[start - 1].strip() if start else "")
            body = "\n".join(lines[start + 1 : i]) + "\n"
            mark = comment[1] if comment else ""
            found.append(Block(start + 1, lines[start][3:].strip(), mark, body))
            start = None
    assert start is None, f"the fence in line {start + 1} is not closed"
    return found


def run(page, text):
    """Run the code of a page and yield the blocks that show an output, with what was printed."""
    namespace, printed = {"__name__": "__main__"}, io.StringIO()
    for block in blocks(text):
        if block.mark.startswith("output"):
            yield block, printed.getvalue()
        elif block.language == "python" and not block.mark:
            printed = io.StringIO()
            code = compile("\n" * block.line + block.text, page, "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)


@every_page
def test_code_runs_and_prints_what_is_shown(page, monkeypatch, tmp_path):
    """Blocks run in order without a warning; outputs are as shown, up to white space."""
    monkeypatch.chdir(tmp_path)
    for block, printed in run(page, PAGES[page]):
        error = float(block.mark.rpartition(" ")[2]) if block.mark != "output" else 0.0
        got, shown = printed.split(), block.text.split()
        assert len(got) == len(shown), f"{page}, line {block.line}: {printed}"
        differing = [words for words in zip(got, shown, strict=True) if not near(*words, error)]
        assert not differing, f"{page}, line {block.line}: {printed}"


def near(a, b, error):
    """Equal words, or numbers with a decimal point that differ by no more than the error."""
    number = re.compile(r"-?\d+\.\d+")
    both = number.fullmatch(a) and number.fullmatch(b)
    return a == b or bool(both and abs(float(a) - float(b)) <= error)


@every_page
def test_marks_are_known(page):
    """A misspelt comment does not turn a check off."""
    for block in blocks(PAGES[page]):
        known = re.fullmatch(r"|skip|output( within [\d.]+)?|source: \S+", block.mark)
        assert known, f"{page}, line {block.line}: {block.mark}"


def missing_line(quote, source):
    """The first line of a quote that is not in the source, or not at its place; None if all are."""
    wanted = [line.strip() for line in quote.splitlines() if line.strip()]
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    parts, place = [[]], 0
    for line in wanted:
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    for part in parts:
        starts = (i for i in range(place, len(lines)) if lines[i : i + len(part)] == part)
        start = next(starts, None)
        if start is None:
            return next((line for line in part if line not in lines[place:]), part[0])
        place = start + len(part)
    return None


@every_page
def test_quotes_are_the_source(page):
    """What is shown as the source is the source."""
    for block in blocks(PAGES[page]):
        if block.mark.startswith("source: "):
            source = (ROOT / block.mark.removeprefix("source: ")).read_text("utf-8")
            missing = missing_line(block.text, source)
            assert missing is None, f"{page}, line {block.line}: not in the source: {missing}"


def test_changed_sources_are_found():
    """A quote with a changed, a missing or a moved line is no quote."""
    source = "def f(x):\n    y = x\n    return y\n\ndef g(x):\n    return x\n"
    assert missing_line("def f(x):\n  y = x\n", source) is None
    assert missing_line("def f(x):\n    ...\n    return y\n", source) is None
    assert missing_line("def f(x):\n    return y\n", source) == "def f(x):"
    assert missing_line("def f(x):\n    y = 2 * x\n", source) == "y = 2 * x"
    assert missing_line("def g(x):\n    ...\ndef f(x):\n", source) == "def f(x):"


def slug(heading):
    """The anchor that code hosts give a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return text.strip().replace(" ", "-")


@every_page
def test_links_lead_somewhere(page):
    """Relative links name files of the repository, anchors name headings."""
    prose = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), flags=re.M)
            assert anchor in map(slug, headings), f"{page}: {target}"


# -- complete ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in blackbox_es.__all__ if name[0] != "_"])
def test_public_names_are_documented(name):
    """The guide or a page beside it speaks of every public name."""
    assert any(name in text for page, text in PAGES.items() if page.startswith("docs/"))


@pytest.mark.parametrize("name", [*STOP_REASONS, *SHAPINGS])
def test_names_of_values_are_documented(name):
    """The guide lists every stop reason and every shaping."""
    assert f"`{name}`" in GUIDE or f'"{name}"' in GUIDE


@pytest.mark.parametrize("strategy", METHODS.values())
def test_parameters_are_documented(strategy):
    """The guide speaks of every parameter of every strategy."""
    for name in inspect.signature(strategy).parameters:
        assert re.search(rf"\b{name}\b", GUIDE), f"{name} is missing"


@pytest.mark.parametrize("strategy", METHODS.values())
def test_strategies_are_documented(strategy):
    """The changelog names every strategy."""
    assert strategy.__name__ in PAGES["docs/changelog.md"]


@pytest.mark.parametrize("name", METHODS)
def test_the_guide_says_when_to_use_each_strategy(name):
    """The table of strategies has a row for each of the registry."""
    assert f"\n| `{name}` | `{METHODS[name].__name__}` | " in GUIDE


def test_the_rooms_are_those_of_the_tests():
    """The contributing page shows the rooms that test_architecture enforces, row by row."""
    rooms = PAGES["docs/contributing.md"].partition("## Rooms")[2].partition("\n## ")[0]
    table = re.findall(r"^\| *\d+ *\| *(.*?) *\|", rooms, flags=re.M)
    assert [set(re.findall(r"`(\w+)`", row)) for row in table] == ROWS


@every_page
def test_pages_read_well_as_text(page):
    """Lines stay within about 100 characters but for tables and links."""
    for number, line in enumerate(PAGES[page].splitlines(), 1):
        assert len(line) <= 102 or "](" in line or line.startswith("|"), f"{page}, line {number}"


@every_page
def test_blocks_can_be_pasted(page):
    """Python blocks have no prompts, and pages no tabs."""
    assert "\t" not in PAGES[page]
    for block in blocks(PAGES[page]):
        assert not (block.language == "python" and ">>>" in block.text), f"{page}, {block.line}"


@pytest.mark.parametrize(
    "check", [*OBJECTIVE_CHECKS, *SURROGATE_CHECKS, *GRADIENT_CHECKS, *SEARCH_CHECKS]
)
def test_checks_are_documented(check):
    """The page on testing lists every check with its law."""
    assert f"| `{check.name}` | {check.law} |" in PAGES["docs/testing.md"]


FAULTS = [*map(str, range(1, 26)), *(f"+{i}" for i in range(1, 6))]


def test_every_fault_has_its_test():
    """The table of faults has its 30 rows, and the tests that it names are there."""
    table = PAGES["docs/contributing.md"].partition("## Faults")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if re.match(r"\| \+?\d", line)]
    assert [row[0].strip("| ") for row in rows] == FAULTS
    for row in rows:
        tests = re.findall(r"`tests/(\w+\.py)::(\w+)`", row[-1])
        assert tests, row
        for file, name in tests:
            assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), (file, name)
