"""`greenroom graph`: words and charts of a graph, and what is wrong with it."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from greenroom.actors.host.command_line import BAD_INPUT, OK, PROBLEMS, run
from greenroom.actors.host.graph_mermaid import escaped, mermaid_lines
from greenroom.protocol.engine.nesting import levels_of
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec

GOLDEN = Path("tests", "golden")
Captured = pytest.CaptureFixture[str]

MODULE = """
from greenroom import Agent, EdgeSpec, GraphSpec, NodeSpec

agent = Agent("made", goal="")

@agent.node(then="second")
def first(): ...

@agent.node()
def second(): ...

agent.entry_point("door", "second")
plain = GraphSpec(id="plain", entry_node="a", nodes=[NodeSpec(id="a")])
lost = GraphSpec(id="lost", entry_node="a", nodes=[NodeSpec(id="a", max_retries="x")])
number = 7

def build():
    return plain

def broken():
    raise RuntimeError("no")

class Shelf:
    held = plain
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules in it; what is imported from there is forgotten after."""
    name = f"module_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_ends.py").write_text("raise SystemExit(3)")
    (tmp_path / f"{name}_needs.py").write_text("import nothing_like_that")
    (tmp_path / f"{name}_fails.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*os.sys.path])  # type: ignore[attr-defined]
    return Path(name)


def golden(name: str, found: str, repository: Path) -> None:
    path = repository / GOLDEN / name
    if os.environ.get("GREENROOM_WRITE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_a_graph_is_told_in_words(capsys: Captured, repository: Path) -> None:
    """Nodes, edges, maps, routes, where it begins, and where its branches join, at every level."""
    assert run(["graph", str(repository / GOLDEN / "desk.json")]) == OK
    written = capsys.readouterr()
    assert written.err == ""
    golden("desk.txt", written.out, repository)


def test_a_graph_is_drawn_as_a_chart(tmp_path: Path, capsys: Captured, repository: Path) -> None:
    source = str(repository / GOLDEN / "desk.json")
    assert run(["graph", source, "--mermaid"]) == OK
    written = capsys.readouterr()
    assert written.err == ""
    golden("desk.mmd", written.out, repository)
    assert run(["graph", source, "--mermaid", "--output", str(tmp_path / "desk.mmd")]) == OK
    assert capsys.readouterr().out == ""
    assert (tmp_path / "desk.mmd").read_text(encoding="utf-8") == written.out


def test_json_has_the_graph_its_joins_and_its_problems(capsys: Captured, repository: Path) -> None:
    path = repository / GOLDEN / "desk.json"
    assert run(["graph", str(path), "--json"]) == OK
    found = json.loads(capsys.readouterr().out)
    assert msgspec.convert(found["graph"], GraphSpec) == msgspec.json.decode(
        path.read_bytes(), type=GraphSpec
    )
    assert found["joins"] == {"plan": "merge", "write.draft": None}
    assert found["problems"] == []


def test_a_graph_with_problems_is_shown_with_them_and_exits_1(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "wrong.json"
    wrong = {"id": "w", "entry_node": "a", "nodes": [{"id": "a"}, {"id": "alone", "model": "m"}]}
    edge = {"id": "e", "source": "a", "target": "zz"}
    path.write_text(json.dumps({**wrong, "edges": [edge]}))
    problems = (
        "problems:\n"
        "  edge 'e': target names node 'zz', which is not in the graph\n"
        "  node 'alone' is unreachable: no entry node leads to it\n"
        "  node 'alone': model is not supported yet: leave it at its default (default: None)\n"
    )
    assert run(["graph", str(path)]) == PROBLEMS
    told = capsys.readouterr().out
    assert told.startswith("graph w,")
    assert told.endswith(problems)
    assert run(["graph", str(path), "--mermaid"]) == PROBLEMS
    written = capsys.readouterr()
    assert '["zz is missing"]' in written.out
    assert written.err == problems
    assert run(["graph", str(path), "--json"]) == PROBLEMS
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 3


def test_a_toml_file_holds_a_graph_as_well(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "g.toml"
    path.write_text('id = "g"\nentry_node = "a"\n[[nodes]]\nid = "a"\n')
    assert run(["graph", str(path)]) == OK
    assert capsys.readouterr().out.startswith("graph g,")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("agent", "door        ->  second  entry point, manual"),
        ("plain", "graph plain,"),
        ("build", "graph plain,"),
        ("Shelf.held", "graph plain,"),
    ],
)
def test_a_graph_of_a_module_in_the_current_folder_is_found(
    name: str, shown: str, here: Path, capsys: Captured
) -> None:
    run(["graph", f"{here}:{name}"])
    assert shown in capsys.readouterr().out


def test_functions_of_an_agent_are_checked_with_its_graph(here: Path, capsys: Captured) -> None:
    """The first node is not entered by any entry point, and nothing else is wrong."""
    assert run(["graph", f"{here}:agent"]) == OK
    assert "problems" not in capsys.readouterr().out


def test_fields_of_a_wrong_type_are_told_alone(here: Path, capsys: Captured) -> None:
    assert run(["graph", f"{here}:lost"]) == PROBLEMS
    assert capsys.readouterr().out.startswith("problems:\n  nodes[0] (id 'a')")
    assert run(["graph", f"{here}:lost", "--json"]) == PROBLEMS
    assert json.loads(capsys.readouterr().out)["graph"] is None


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nothing", "names no graph: give a .json or .toml file, or MODULE:NAME"),
        ("{here}:", "names no graph"),
        ("no.json", "no.json cannot be read: No such file or directory"),
        ("nowhere_at_all:g", "there is no module 'nowhere_at_all'"),
        ("nowhere_at_all.inner:g", "there is no module 'nowhere_at_all'"),
        ("{here}.py:agent", "is a file: name the module, as in"),
        ("{here}_ends:g", "ends the process when it is imported: put what it runs below"),
        ("{here}_needs:g", "cannot be imported: No module named 'nothing_like_that'"),
        ("{here}_fails:g", "cannot be imported: ZeroDivisionError: division by zero"),
        ("{here}:gone", "has no 'gone'; graphs and agents in it: agent, plain, lost"),
        ("{here}:number", "is a int: name a GraphSpec, an Agent, or a function"),
        ("{here}:Shelf", "is a type: name a GraphSpec, an Agent, or a function"),
        ("{here}:broken", "failed when it was called: RuntimeError: no"),
    ],
)
def test_a_name_that_leads_to_no_graph_is_told_in_one_line(
    source: str, why: str, here: Path, capsys: Captured
) -> None:
    assert run(["graph", source.format(here=here)]) == BAD_INPUT
    written = capsys.readouterr()
    assert written.out == ""
    assert why in written.err
    assert written.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("g.json", "not json", "g.json is not JSON"),
        ("g.toml", "not = = toml", "g.toml is not TOML"),
        ("g.json", '{"id": "g"}', "required field `entry_node`"),
        ("g.json", '{"id": "g", "entry_node": 3}', "Expected `str`, got `int`"),
        (
            "g.json",
            '{"id":"g","entry_node":"a","edges":[{"id":"e","source":"a","target":"a",'
            '"condition":"sometimes"}]}',
            "sometimes",
        ),
        (
            "g.json",
            '{"id":"g","entry_node":"a","edges":[{"id":"e","source":"a","target":"a",'
            '"map":{"over":""}}]}',
            "map: over is ''",
        ),
    ],
)
def test_a_file_without_a_graph_is_told_in_one_line(
    name: str, text: str, why: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / name).write_text(text)
    assert run(["graph", str(tmp_path / name)]) == BAD_INPUT
    written = capsys.readouterr()
    assert why in written.err
    assert written.err.count("\n") == 1


def test_two_forms_at_once_and_a_file_that_cannot_be_written_are_refused(
    tmp_path: Path, capsys: Captured, repository: Path
) -> None:
    source = str(repository / GOLDEN / "desk.json")
    assert run(["graph", source, "--mermaid", "--json"]) == BAD_INPUT
    assert run(["graph", source, "--output", str(tmp_path / "no" / "x.txt")]) == BAD_INPUT
    assert "cannot be written" in capsys.readouterr().err


def test_names_in_a_chart_are_each_one_node() -> None:
    """Ids that are alike but for signs, and words of the language, keep apart."""
    ids = ["a.b", "a-b", "a_b", "end", "graph"]
    edges = [EdgeSpec(id=one, source="a.b", target=one) for one in ids[1:]]
    spec = GraphSpec(id="g", entry_node="a.b", nodes=[NodeSpec(id=one) for one in ids], edges=edges)
    lines = list(mermaid_lines(levels_of(spec)[0]))
    assert lines[1:6] == [
        '    n_a_b["a.b"]',
        '    n_a_b_2["a-b"]',
        '    n_a_b_3["a_b"]',
        '    n_end["end"]',
        '    n_graph["graph"]',
    ]
    assert '    n_a_b -->|"side by side"| n_a_b_3' in lines


def test_labels_hold_nothing_that_means_something_to_the_chart() -> None:
    assert escaped('a "b"; #c <d>\n%%{e}|`') == (
        "a #34;b#34;#59; #35;c #60;d#62; #37;#37;#123;e#125;#124;#96;"
    )
    assert escaped("Zürich, 3 > 2?") == "Zürich, 3 #62; 2?"
