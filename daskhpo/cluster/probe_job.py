"""What the doctor's batch job runs on a node: connect back, and answer what is asked.

Run as a file (``python -P probe_job.py REQUEST``), with nothing but the standard library: where
daskhpo cannot be imported, this is what says so. Questions and answers are lines of JSON:
``{"ask": "host"}`` is answered by ``{"answer": ...}`` or ``{"error": "..."}``.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ASKS", "connect", "interfaces", "main", "serve"]

KNOCK = 10.0  # seconds to try one address of the doctor
SLOW = 300.0  # seconds for an import on a file system that is busy
LISTEN = 20.0  # seconds that a listening port waits for the doctor

TORCH = """
import json, torch
nccl = torch.cuda.nccl.version() if torch.cuda.is_available() else None
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda,
    "nccl": ".".join(map(str, nccl)) if nccl else None, "count": torch.cuda.device_count(),
    "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    "names": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
}))
"""
DASKHPO = """
import json, daskhpo
print(json.dumps({"version": daskhpo.__version__, "file": daskhpo.__file__}))
"""


def clock(_: dict[str, Any]) -> float:
    """Seconds since 1970."""
    return time.time()


def host(_: dict[str, Any]) -> dict[str, Any]:
    """Name, addresses by interface, and what the batch system told this job."""
    names = ("SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_JOB_ACCOUNT", "SLURM_JOB_NODELIST")
    return {
        "host": socket.gethostname(),
        "addresses": interfaces(),
        "batch": {name: os.environ[name] for name in names if name in os.environ},
    }


def resolve(given: dict[str, Any]) -> str:
    """The address that this node finds under the doctor's name."""
    return str(socket.getaddrinfo(given["name"], None, type=socket.SOCK_STREAM)[0][4][0])


def program(_: dict[str, Any]) -> dict[str, Any]:
    """This Python, and the daskhpo that it finds from the job's working directory."""
    return {"python": sys.executable, "version": sys.version.split()[0], **_timed(DASKHPO)}


def distributed(_: dict[str, Any]) -> dict[str, Any]:
    """How long it takes until Dask is imported."""
    return _timed(
        "import json, distributed; print(json.dumps({'version': distributed.__version__}))"
    )


def gpus(_: dict[str, Any]) -> dict[str, Any]:
    """What the batch system gave to this job, and what the driver shows of it."""
    listed = ""
    if shutil.which("nvidia-smi"):
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        listed = done.stdout or done.stderr
    return {
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "listed": [line for line in listed.splitlines() if line.startswith("GPU")],
        "smi": listed.strip()[:200] if listed else "nvidia-smi is not there",
    }


def torch(_: dict[str, Any]) -> dict[str, Any]:
    """Versions of PyTorch, CUDA and NCCL, the devices it sees, and how long the import takes."""
    return _timed(TORCH)


def files(given: dict[str, Any]) -> dict[str, Any]:
    """Read what the doctor wrote to the campaign's directory, and write something for it."""
    folder = Path(given["folder"])
    text = (folder / "from-doctor").read_text(encoding="utf-8")
    with open(folder / "from-node", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return {"read": text}


def disk(_: dict[str, Any]) -> dict[str, Any]:
    """Room on the disk that this node has to itself."""
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    return {"folder": folder, "free": shutil.disk_usage(folder).free}


def ends(_: dict[str, Any]) -> float | None:
    """When this batch job is killed, in seconds since 1970; None if nobody says."""
    if "SLURM_JOB_END_TIME" in os.environ:
        return float(os.environ["SLURM_JOB_END_TIME"])
    if "SLURM_JOB_ID" not in os.environ or shutil.which("squeue") is None:
        return None
    command = ["squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%e"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    try:
        return time.mktime(time.strptime(said, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:  # "N/A", or no answer
        return None


def limits(_: dict[str, Any]) -> dict[str, int | None]:
    """What a process may have on this node; None without a limit."""
    kinds = {"files": resource.RLIMIT_NOFILE, "processes": resource.RLIMIT_NPROC}
    kinds |= {"locked": resource.RLIMIT_MEMLOCK, "cpu": resource.RLIMIT_CPU}
    found = {name: resource.getrlimit(kind)[0] for name, kind in kinds.items()}
    return {name: None if n == resource.RLIM_INFINITY else n for name, n in found.items()}


def listen(given: dict[str, Any]) -> dict[str, Any]:
    """Open a port for the doctor to come in by; it is handled by :func:`serve`."""
    server = socket.create_server(("", 0))
    server.settimeout(LISTEN)
    given["server"] = server
    return {"port": server.getsockname()[1], "addresses": interfaces()}


ASKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    ask.__name__: ask
    for ask in (clock, host, resolve, program, distributed, gpus, torch, files, disk, ends, limits)
} | {"listen": listen}


def connect(addresses: list[str], port: int) -> tuple[socket.socket, str, dict[str, str]]:
    """Reach the doctor under one of its addresses.

    Parameters
    ----------
    addresses : list of str
        To be tried in this order.
    port : int
        Where it listens.

    Returns
    -------
    socket, str, dict
        Connected; the address that did it; and why each one before it did not.

    Raises
    ------
    OSError
        If none works.
    """
    failed: dict[str, str] = {}
    for address in addresses:
        try:
            reached = socket.create_connection((address, port), timeout=KNOCK)
        except OSError as error:
            failed[address] = str(error)
            continue
        reached.settimeout(None)
        return reached, address, failed
    raise OSError(f"no address of the doctor can be reached: {failed}")


def serve(channel: socket.socket, token: str, hello: dict[str, Any]) -> None:
    """Say hello, then answer until the doctor hangs up."""
    with channel, channel.makefile("rw", encoding="utf-8") as lines:
        _say(lines, {"token": token, **hello})
        for line in lines:
            given = json.loads(line)
            _say(lines, _answer(given))
            if "server" in given:
                _let_in(given["server"], token)


def _answer(given: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": ASKS[given["ask"]](given)}
    except Exception as error:  # noqa: BLE001 (whatever it is, the doctor has to hear of it)
        return {"error": f"{type(error).__name__}: {error}"}


def _let_in(server: socket.socket, token: str) -> None:
    with server:
        try:
            guest, _ = server.accept()
        except OSError:  # nobody came
            return
        with guest:
            guest.sendall(f"{token}\n".encode())


def _say(lines: Any, content: dict[str, Any]) -> None:
    lines.write(json.dumps(content) + "\n")
    lines.flush()


def _timed(code: str) -> dict[str, Any]:
    """Run a program that prints JSON, in a fresh interpreter."""
    began = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SLOW)
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": round(time.monotonic() - began, 2)}


def interfaces() -> dict[str, str]:
    """IPv4 addresses of this machine, ``{interface: address}``."""
    import fcntl
    import struct

    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), 0x8915, request)  # SIOCGIFADDR
            except OSError:  # it has none
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found


def main(arguments: list[str]) -> None:
    """Take what the doctor wants, as JSON in base64: a shell leaves that alone."""
    request = json.loads(base64.urlsafe_b64decode(arguments[0]))
    channel, address, failed = connect(request["addresses"], request["port"])
    serve(channel, request["token"], {"reached": address, "failed": failed})


if __name__ == "__main__":
    main(sys.argv[1:])
