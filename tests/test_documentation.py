"""The documentation: what it says of files, commands and code is so."""

import re
import shlex
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from benchcore.cli.main import cli
from benchcore.workload.named import load_workload
from tests.cli_reference import PAGE, reference
from tests.conftest import bare_environment

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


_FENCE = re.compile(r"( *)(```+)([\w-]*)(.*)")
_TITLE = re.compile(r'title="([^"]*)"')


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        fence = _FENCE.fullmatch(lines[place])
        if fence is None:
            place += 1
            continue
        indent, ticks, language, rest = fence.groups()
        begin = place + 1
        place = begin
        while lines[place] != indent + ticks:
            place += 1
        text = "\n".join(line.removeprefix(indent) for line in lines[begin:place]) + "\n"
        title = _TITLE.search(rest)
        yield Block(page, begin, language, title[1] if title else "", text)
        place += 1


def of_language(pages: list[Path], *languages: str) -> list[Block]:
    return [block for page in pages for block in blocks(page) if block.language in languages]


def prose(page: Path) -> str:
    """Return a page without its blocks of code and code spans."""
    kept, inside = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.fullmatch(line)
        if fence and not inside:
            inside = fence[2]
        elif inside:
            inside = "" if line.strip() == inside else inside
        else:
            kept.append(line)
    # A span may go on in the next line of its paragraph.
    return re.sub(r"`(?:[^`\n]|\n(?!\n))*`", "", "\n".join(kept))


# Links.

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
_HEADING = re.compile(r"(?m)^#{1,6} +(.+?)(?: *\{#([\w-]+)\})? *$")
_CODE = re.compile(r"(?ms)^ *```.*?^ *```\s*?$")


def anchors(page: Path) -> set[str]:
    """Return the ids of a page's headings, as the site and as the code host makes them."""
    found: set[str] = set()
    for text, given in _HEADING.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if given:
            found.add(given)
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
        plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^\w\s-]", "", plain).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


def links() -> list[tuple[Path, str]]:
    return [
        (page, link)
        for page in [*PAGES, *READMES]
        for link in _LINK.findall(prose(page))
        if "://" not in link and not link.startswith("mailto:")
    ]


@pytest.mark.parametrize(
    ("page", "link"), links(), ids=lambda one: str(one).removeprefix(f"{ROOT}/")
)
def test_a_link_leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    where = (page.parent / path).resolve() if path else page
    if page.is_relative_to(DOCS):
        assert where.exists(), f"{where} is not there"
        assert where.is_relative_to(DOCS), "the site does not hold what lies outside of docs/"
    assert where.exists(), f"{where} is not there"
    if anchor:
        assert anchor in anchors(where)


def test_there_are_links_to_look_at():
    assert len(links()) > 50


# Navigation.


def _pages_of(navigation) -> Iterator[str]:
    for entry in navigation:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(value, list):
                yield from _pages_of(value)
            else:
                yield value


def test_every_page_is_in_the_navigation_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(_pages_of(site["nav"])) == [page.relative_to(DOCS).as_posix() for page in PAGES]


def test_the_site_fetches_nothing():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["strict"] is True
    assert site["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "extra"} & set(site)
    assert site["plugins"] == ["search"]
    for page in PAGES:
        assert not re.search(r"<(script|iframe|link)|!\[[^\]]*\]\(http|src=\"http", prose(page))


# The command line.


def test_the_reference_is_what_the_commands_say():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run python tests/cli_reference.py"


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the arguments of each call of benchcore in a block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        call = line.strip()
        if block.language == "console":
            if not call.startswith("$ "):
                continue
            call = call[2:]
        else:
            call = re.sub(r"^(- run: |- |run: |ExecStart=)", "", call)
            if not re.match(r"(\w+=\S+ )*(\S*/)?benchcore ", call):
                continue
        lexer = shlex.shlex(call, posix=True, punctuation_chars="|;&><")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("|;&><"):
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == "benchcore":
                yield words[1:]
            words = []


def parse(args: list[str]) -> None:
    """Parse a call without running it.

    Raises:
        click.UsageError: there is no such command, option or value.
    """
    context = click.Context(cli, info_name="benchcore")
    command: click.Command = cli
    words = list(args)
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            command.make_parser(context).parse_args(words)
            return
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no command {words[0]}")
        context = click.Context(found, info_name=words.pop(0), parent=context)
        command = found
    given, rest, _ = command.make_parser(context).parse_args(words)
    if rest:
        raise click.UsageError(f"left over: {rest}")
    for param in command.get_params(context):
        # The files of an example are not there.
        if param.name in given and not isinstance(param.type, click.Path):
            param.type_cast_value(context, given[param.name])


CALLS = [
    pytest.param(args, id=f"{block}: {' '.join(args)}")
    for block in of_language([*PAGES, *READMES], "console", "yaml", "sh", "ini")
    for args in commands(block)
]


@pytest.mark.parametrize("args", CALLS)
def test_a_command_line_parses(args):
    parse(args)


def test_there_are_command_lines_to_look_at():
    assert len(CALLS) > 80


@pytest.mark.parametrize(
    "args",
    [["climp"], ["climb", "--concurency", "1"], ["climb", "--concurrency", "8,1"], ["doctor", "x"]],
)
def test_a_wrong_command_line_does_not(args):
    with pytest.raises(click.UsageError):
        parse(args)


# Code.


@pytest.mark.parametrize(
    "block", of_language([DOCS / "library.md", DOCS / "extending.md"], "python"), ids=str
)
def test_a_block_of_python_compiles(block):
    compile(block.text, str(block), "exec")


@pytest.mark.integration
@pytest.mark.parametrize("block", of_language([DOCS / "library.md"], "python"), ids=str)
def test_a_block_of_the_library_guide_runs(block, tmp_path):
    program = tmp_path / "block.py"
    program.write_text(block.text, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder in which the package of docs/extending.md is installed."""
    folder = tmp_path_factory.mktemp("ours")
    found = list(blocks(DOCS / "extending.md"))
    for block in found:
        if block.title:
            path = folder / block.title
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"ours-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / "capitals.csv").write_text("country,capital\nFrance,Paris\nPeru,Lima\n")
    return folder


@pytest.mark.integration
@pytest.mark.parametrize(
    ("args", "shows"),
    [
        (["climb", "--sim", "--workload", "mails.yaml"], "c4"),
        (["check", "--sim", "--suite", "ours"], "2 of 2 judged checks passed"),
        (["eval", "capitals", "--sim", "--data", "capitals.csv"], "2 scored"),
    ],
)
def test_the_package_of_the_extension_guide_works(extended, args, shows):
    ended = subprocess.run(
        [sys.executable, "-m", "benchcore", *args, "--output", f"results-{args[0]}"],
        cwd=extended,
        env=bare_environment(PYTHONPATH=str(extended)),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert shows in ended.stdout
    if args[0] == "climb":
        (slowest,) = (extended / "results-climb").glob("*/slowest.txt")
        levels = [line.split()[1] for line in slowest.read_text(encoding="utf-8").splitlines()]
        assert levels == ["c1"] * 3 + ["c4"] * 3


@pytest.mark.parametrize(
    "block",
    [one for one in of_language([DOCS / "guide" / "climb.md"], "yaml", "json") if one.title],
    ids=lambda block: block.title,
)
def test_a_workload_of_the_guide_loads(block, tmp_path):
    path = tmp_path / block.title
    path.write_text(block.text, encoding="utf-8")
    (part,) = load_workload(path, seed=1).parts
    assert part.workload.prompt(0, "c1", 1).output_tokens == 200


# The two readmes.


def test_the_chinese_readme_has_what_the_english_one_has():
    english, chinese = (list(blocks(page)) for page in READMES)
    assert [block.language for block in english] == [block.language for block in chinese]
    # Comments are translated, commands are not.
    assert [list(commands(block)) for block in english] == [
        list(commands(block)) for block in chinese
    ]
    headings = [
        [len(marks) for marks in re.findall(r"(?m)^(#+) ", prose(page))] for page in READMES
    ]
    assert headings[0] == headings[1]
    rows = [
        [line.count("|") for line in prose(page).splitlines() if line.startswith("|")]
        for page in READMES
    ]
    assert rows[0] == rows[1]
