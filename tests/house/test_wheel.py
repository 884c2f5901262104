"""The distribution holds what a user needs, and takes one name in the user's environment."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

FOLDERS = ("protocol", "storage", "actors", "benchmarks")
NOT_SHIPPED = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "__pycache__",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    ".cache",
)
# What `import greenroom` leaves behind in a process, as JSON on standard output.
PROBE = """
import json, logging, os, signal, sys, threading
before = {number: signal.getsignal(number) for number in signal.valid_signals()}
import greenroom
print(json.dumps({
    "version": greenroom.__version__,
    "file": greenroom.__file__,
    "heavy": sorted({name.partition(".")[0] for name in sys.modules}
                    & {"starlette", "uvicorn", "typer", "rich", "httpx2", "hypothesis", "pytest"}),
    "benchmarks": "greenroom.benchmarks" in sys.modules,
    "threads": [thread.name for thread in threading.enumerate()],
    "log_handlers": len(logging.getLogger().handlers),
    "signals_kept": before == {number: signal.getsignal(number) for number in before},
    "files": os.listdir(),
}))
"""


def _run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed; what it says is shown when it does not."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built by way of the sdist, in a copy: an old build folder would leak into it."""
    copy = tmp_path_factory.mktemp("source") / "greenroom"
    shutil.copytree(repository, copy, symlinks=True, ignore=NOT_SHIPPED)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", ".", cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment with the wheel, and our dependencies lent by path.

    The path file lends the folder only: the path file of the editable install in it is not read,
    so nothing of the clone can be imported.
    """
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    _run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "lent.pth").write_text("\n".join(sorted(paths)) + "\n", encoding="utf-8")
    return python


@pytest.fixture(scope="session")
def imported(clean_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process finds after `import greenroom`, with every warning an error."""
    empty = tmp_path_factory.mktemp("empty")
    report: dict[str, object] = json.loads(
        _run(clean_python, "-I", "-W", "error", "-c", PROBE, cwd=empty)
    )
    return report


def test_every_module_and_data_file_is_in_the_wheel(wheel: Path, repository: Path) -> None:
    """Each `.py` and `.json` of the four folders, and the marker that says the package is typed."""
    expected = {
        f"greenroom/{path.relative_to(repository).as_posix()}"
        for folder in FOLDERS
        for pattern in ("*.py", "*.json")
        for path in (repository / folder).rglob(pattern)
    }
    expected |= {f"greenroom/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert expected - names == set(), "not in the wheel"
    assert names - expected == set(), "in the wheel by accident"


def test_the_licence_is_in_the_wheel(wheel: Path) -> None:
    """Whoever passes the wheel on passes the licence on."""
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]


@pytest.mark.parametrize("name", [*FOLDERS, "tests", "setup"])
def test_no_folder_is_importable_by_its_bare_name(clean_python: Path, name: str) -> None:
    """Outside the clone there is `greenroom` and nothing else of ours."""
    looking = (
        f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
    )
    _run(clean_python, "-I", "-c", looking, cwd=clean_python.parent)


def test_the_installed_package_is_the_one_that_is_imported(
    imported: dict[str, object], clean_python: Path, wheel: Path
) -> None:
    """The tests below would prove nothing about the wheel if the clone were imported."""
    assert str(imported["file"]).startswith(str(clean_python.parent.parent))
    assert f"greenroom-{imported['version']}-" in wheel.name


def test_importing_has_no_side_effects(imported: dict[str, object]) -> None:
    """No thread, no signal handler, no logging set-up, no file."""
    assert imported["threads"] == ["MainThread"]
    assert imported["signals_kept"] is True
    assert imported["log_handlers"] == 0
    assert imported["files"] == []


def test_importing_loads_no_server_no_command_line_and_no_benchmarks(
    imported: dict[str, object],
) -> None:
    """An embedded runtime pays only for what it uses."""
    assert imported["heavy"] == []
    assert imported["benchmarks"] is False
