"""The tarball of `just dist`, unpacked as docs/deploy.md says, and run with nothing around it.

Built without optimisation, which takes a part of the time: all but the binary's speed and size is the same.
"""

import asyncio
import hashlib
import os
import pathlib
import struct
import subprocess
import tarfile
import tomllib

import pages
import pytest
import render
import websockets
from server import serving

BUILD = {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_DEV_STRIP": "true"}
PT_INTERP = 3
# Bytes of a crate before it is packed: a picture would be seen.
CRATE = 5 << 20


def dist(directory):
    """Makes the tarball there."""
    environment = os.environ | BUILD | {"DIST": str(directory)}
    told = render.run(render.ROOT / ".ci/dist", "--profile", "dev", env=environment, cwd="/")
    return directory / told.strip().rpartition("/")[2]


@pytest.fixture(scope="session")
def tarball(tmp_path_factory):
    return dist(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def local(tarball, tmp_path_factory):
    """What would be /usr/local, by the command of the page."""
    directory = tmp_path_factory.mktemp("local")
    (command,) = [line for line in pages.section("As a service").splitlines() if line.startswith("sudo tar ")]
    command = pages.replaced(command, {"sudo ": "", "/usr/local": directory})
    render.run("sh", "-c", command, cwd=tarball.parent)
    return directory


def test_the_same_sources_give_the_same_bytes(tarball, tmp_path):
    assert dist(tmp_path).read_bytes() == tarball.read_bytes()


def test_the_checksum_is_that_of_the_tarball(tarball):
    sums = (tarball.parent / "SHA256SUMS").read_text()
    assert sums == f"{hashlib.sha256(tarball.read_bytes()).hexdigest()}  {tarball.name}\n"


def test_everything_is_in_it_and_belongs_to_root(tarball):
    top = tarball.name.removesuffix(".tar.gz")
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert len({member.mtime for member in members}) == 1
    modes = {member.name: member.mode for member in members if member.isfile()}
    assert {name for name, mode in modes.items() if mode != 0o644} == {f"{top}/bin/scalesocket"}
    assert modes[f"{top}/bin/scalesocket"] == 0o755
    files = {name.removeprefix(f"{top}/") for name in modes}
    assert {name for name in files if "/docs/" not in name} == {
        "bin/scalesocket",
        "lib/systemd/system/scalesocket.service",
        "lib/systemd/system/scalesocket.socket",
        "share/bash-completion/completions/scalesocket",
        "share/doc/scalesocket/CHANGELOG.md",
        "share/doc/scalesocket/LICENSE-APACHE",
        "share/doc/scalesocket/LICENSE-MIT",
        "share/doc/scalesocket/README.md",
        "share/fish/vendor_completions.d/scalesocket.fish",
        "share/man/man1/scalesocket.1",
        "share/zsh/site-functions/_scalesocket",
    }
    assert "share/doc/scalesocket/docs/cli.md" in files


def test_binstall_finds_the_binary(tarball):
    manifest = tomllib.loads((render.ROOT / "Cargo.toml").read_text())
    package = manifest["package"]
    release = package["metadata"]["binstall"]
    host = render.run("rustc", "--version", "--verbose").partition("\nhost: ")[2].split()[0]
    variables = {
        "name": package["name"], "version": package["version"], "target": host, "bin": package["name"],
        "binary-ext": "", "repo": "https://example.com",
    }  # fmt: skip

    def filled(template):
        for name, value in variables.items():
            template = template.replace(f"{{ {name} }}", value)
        assert "{" not in template
        return template

    assert filled(release["pkg-url"]).rpartition("/")[2] == tarball.name
    assert release["pkg-fmt"] == "tgz"
    with tarfile.open(tarball) as archive:
        assert archive.getmember(filled(release["bin-dir"])).isfile()


def test_the_crate_is_what_it_is_built_from_and_what_is_read_beside_it():
    packed = render.run("cargo", "package", "--list", "--allow-dirty", "--offline", cwd=render.ROOT).split()
    tracked = render.run("git", "ls-files", cwd=render.ROOT).split()
    assert set(packed) >= {file for file in tracked if file.startswith(("src/", "examples/"))}
    assert {"Cargo.lock", "README.md", "LICENSE-APACHE", "LICENSE-MIT", "docs/cli.md"} <= set(packed)
    assert not [file for file in packed if file.startswith(("tests/", "bench", "fuzz/", "charts/", "deploy/"))]
    assert not [file for file in packed if file.endswith((".png", ".jpg", ".gif"))]
    there = [render.ROOT / file for file in packed if (render.ROOT / file).is_file()]
    assert sum(file.stat().st_size for file in there) < CRATE


def test_the_binary_asks_for_no_loader(local):
    binary = (local / "bin/scalesocket").read_bytes()
    assert binary[:6] == b"\x7fELF\x02\x01"
    (start,) = struct.unpack_from("<Q", binary, 32)
    size, count = struct.unpack_from("<HH", binary, 54)
    kinds = [struct.unpack_from("<I", binary, start + size * index)[0] for index in range(count)]
    assert kinds and PT_INTERP not in kinds


def test_it_runs_where_there_is_nothing_else(local):
    if os.geteuid() != 0:
        pytest.skip("only root may change the root directory")
    done = subprocess.run(
        ["/bin/scalesocket", "--version"], preexec_fn=lambda: os.chroot(local), cwd="/", env={}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    version = tomllib.loads((render.ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert done.stdout.startswith(f"scalesocket {version}")


def test_it_serves(local):
    async def story(server):
        async with websockets.connect(f"ws://{server.addresses['public']}/lobby") as ann:
            await ann.send("hello")
            assert await ann.recv() == "hello"

    with serving(local / "bin/scalesocket", "cat", env={"PATH": os.defpath}) as server:
        asyncio.run(story(server))


def test_the_units_are_the_ones_that_were_judged(local):
    for unit in (render.DEPLOY / "systemd").iterdir():
        assert (local / "lib/systemd/system" / unit.name).read_bytes() == unit.read_bytes()


def test_the_manual_page_is_well_formed(local, tool):
    page = local / "share/man/man1/scalesocket.1"
    render.run(tool("mandoc"), "-T", "lint", "-W", "error", page)
    text = render.run(tool("mandoc"), "-T", "utf8", page)
    assert "--addr" in text


def test_bash_completes(local):
    script = local / "share/bash-completion/completions/scalesocket"
    ask = """. "$1"; COMP_WORDS=(scalesocket "$2") COMP_CWORD=1
        _scalesocket scalesocket "$2" scalesocket; printf '%s\\n' "${COMPREPLY[@]}" """
    assert "--addr" in render.run("bash", "-c", ask, "bash", script, "--ad").split()
    assert "completions" in render.run("bash", "-c", ask, "bash", script, "compl").split()
    # Files, which are its own matter.
    assert not render.run("bash", "-c", ask, "bash", script, "hel").split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("--ad", "--addr"), ("./cou", "./count.py"), ("conn", "connect"), ("connect --r", "--raw")],
)
def test_fish_completes(local, tool, tmp_path, typed, offered):
    script = local / "share/fish/vendor_completions.d/scalesocket.fish"
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    (tmp_path / "count.py").touch(0o755)
    ask = f"source {script}; complete --do-complete 'scalesocket {typed}'"
    told = render.run(tool("fish"), "--no-config", "--command", ask, env=home, cwd=tmp_path)
    assert offered in [line.partition("\t")[0] for line in told.splitlines()]


# What somebody has typed, and what is offered among other things.
TYPED = [
    ("scalesocket --ad", "--addr"),
    ("scalesocket --slow d", "disconnect"),
    ("scalesocket --addr ", "count.py"),
    ("scalesocket --tcpports 9001:", None),
    ("scalesocket --staticdir pub", "public"),
    ("scalesocket ./cou", "count.py"),
    ("scalesocket python3 -- cou", "count.py"),
    ("scalesocket conn", "connect"),
    ("scalesocket connect --r", "--raw"),
    ("scalesocket completions f", "fish"),
    ("scalesocket hel", None),
]


@pytest.mark.parametrize(("typed", "offered"), TYPED)
def test_zsh_completes(local, tool, tmp_path, typed, offered):
    zsh = tool("zsh")
    # .ci/charts unpacks it below its cache.
    roots = [pathlib.Path(zsh).parent.parent / "debian", pathlib.Path("/")]
    (root, *_) = [root for root in roots if (root / "usr/share/zsh/functions/Completion").is_dir()]
    (modules, *_) = root.glob("usr/lib/*/zsh/*/zsh/zpty.so")
    (tmp_path / "count.py").touch(0o755)
    (tmp_path / "public").mkdir()
    words = [modules.parent.parent, root / "usr/share/zsh/functions", local / "share/zsh/site-functions", typed]
    told = render.run(
        zsh, "-f", pathlib.Path(__file__).with_name("completions.zsh"), *words, cwd=tmp_path,
        env=os.environ | {"ZSH": zsh, "HOME": str(tmp_path), "TERM": "dumb"},
    )  # fmt: skip
    assert "parse error" not in told and "command not found" not in told, told
    if offered:
        assert offered in told.splitlines(), told
    else:
        assert "help" not in told.splitlines(), told


def test_what_shells_would_not_take_is_seen(tmp_path, tool):
    broken = tmp_path / "broken"
    broken.write_text("if (\n")
    for shell in (["bash", "-n"], [tool("zsh"), "-f", "-n"], [tool("fish"), "--no-execute"]):
        with pytest.raises(render.Refused):
            render.run(*shell, broken)
