"""LiteLLM's proxy beside the gateway in `bench/relay.py`: found, configured, started, checked.

It comes from this environment, or from another one whose `litellm` executable is named. One worker, one
model at the bench upstream, a master key and no database: the least that it needs to authenticate and
relay. All that it would fetch from the network, log or report elsewhere is off. It always runs on uvloop.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

MODEL = "acme/m0"
STRETCH = 3  # its slices are longer: 128 callers fill the start and end of a short one
PATIENCE = 120.0  # seconds until it must serve; its imports alone take ten
NEEDED = ("litellm", "fastapi", "uvicorn", "apscheduler")  # the last three come with its proxy
# None of ours is passed on: a DATABASE_URL, a callback's key or a proxy would change what is measured
PASSED = ("PATH", "LANG", "LC_ALL", "TMPDIR")
QUIET = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",  # reads no .env
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
    "DO_NOT_TRACK": "1",
    "NO_DOCS": "True",
}


def find(named: str) -> list[str]:
    """The command that starts LiteLLM, empty where it is not installed.

    Raises SystemExit where `named` is not an executable file: who names one wants the comparison.
    """
    if named:
        path = shutil.which(named)
        if path is None:
            raise SystemExit(f"`{named}` is not an executable file")
        return [str(Path(path).absolute())]  # not resolved: a link may lead out of its environment
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return [sys.executable, "-c", "from litellm import run_server; run_server()"]
    print("LiteLLM is not installed: left out")
    return []


def config(upstream: int, key: str) -> str:
    """Its config.yaml, as JSON, which is YAML too."""
    model = {
        "model": "openai/gpt-bench",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "sk-bench",
    }
    return json.dumps(
        {
            "model_list": [{"model_name": MODEL, "litellm_params": model}],
            "litellm_settings": {
                "telemetry": False,
                "set_verbose": False,
                "callbacks": [],
                "success_callback": [],
                "failure_callback": [],
                "turn_off_message_logging": True,
                "cache": False,
                "num_retries": 0,
            },
            "general_settings": {
                "master_key": key,
                "background_health_checks": False,
                "disable_spend_logs": True,
                "disable_error_logs": True,
            },
        }
    )


def start(
    command: list[str], port: int, upstream: int, folder: Path
) -> tuple[subprocess.Popen[bytes], list[tuple[str, str]]]:
    """Starts one and waits until it serves; the process and the (key, model) pairs that it takes.

    `folder` is its home and working folder and keeps its log. Raises SystemExit as `_await` does.
    """
    folder.mkdir(parents=True)
    key = f"sk-{secrets.token_hex(24)}"
    (folder / "config.yaml").write_text(config(upstream, key))
    arguments = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--num_workers", "1", "--telemetry", "False"]
    environment = {name: os.environ[name] for name in PASSED if name in os.environ}
    environment |= {**QUIET, "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *arguments], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        version = _await(process, port, key, folder)
    except BaseException:
        process.kill()
        process.wait()
        raise
    print(f"litellm {version}, 1 worker on its own uvloop, slices {STRETCH} times as long")
    return process, [(key, MODEL)]


def _await(process: subprocess.Popen[bytes], port: int, key: str, folder: Path) -> str:
    """Waits until it relays for `key` and checks that it refuses another key; its version.

    Raises SystemExit, with the end of its log, where it does not.
    """
    ends = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < ends:
        status, version = _ask(port, key)
        if status == 200:
            if _ask(port, key + "0")[0] == 200:
                raise SystemExit("LiteLLM does not authenticate")
            return version
        time.sleep(0.5)
    tail = (folder / "log").read_text(errors="replace")[-2000:]
    raise SystemExit(f"LiteLLM did not start:\n{tail}")


def _ask(port: int, key: str) -> tuple[int, str]:
    """Status and version of one answer; status 0 while nothing listens."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    try:
        with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=30) as answer:
            return answer.status, answer.headers.get("x-litellm-version", "?")
    except HTTPError as error:
        return error.code, ""
    except (URLError, TimeoutError, ConnectionError):
        return 0, ""


def settle(pid: int, patience: float = 20.0) -> None:
    """Waits until the process rests: requests cut off at the end of a slice must not fall into the next."""
    ends = time.monotonic() + patience
    before = _ticks(pid)
    while time.monotonic() < ends:
        time.sleep(0.3)
        now = _ticks(pid)
        if now - before <= 1:
            return
        before = now


def _ticks(pid: int) -> int:
    """Processor time that the process has used, in clock ticks (1/100 s)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
