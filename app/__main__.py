"""Start the dashboard on this machine alone: 127.0.0.1, no telemetry, no uploads worth the name."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from twin.console import run_command_line
from twin.errors import UserError

__all__ = ["launch"]

commands = typer.Typer(add_completion=False)
ADDRESS = "127.0.0.1"


@commands.command()
def launch(
    data: Annotated[Path, typer.Option(help="Directory of datasets.")] = Path("demo/data"),
    runs: Annotated[Path, typer.Option(help="Directory of runs.")] = Path("demo/runs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8501,
) -> None:
    """Open the dashboard."""
    if not 1 <= port <= 65535:
        raise UserError(f"{port} is no port", "--port", "give a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            raise UserError(f"{port} is in use or not allowed", "--port", "give another one") from None
    print(f"dashboard on http://{ADDRESS}:{port}", flush=True)
    options = {
        "server.address": ADDRESS,
        "server.port": port,
        "server.headless": "true",
        "server.maxUploadSize": 1,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "viewer",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    environment = {**os.environ, "TWIN_DATA": str(data.resolve()), "TWIN_RUNS": str(runs.resolve())}
    main = str(Path(__file__).with_name("main.py"))
    os.execve(sys.executable, [sys.executable, "-m", "streamlit", "run", main, *flags], environment)


if __name__ == "__main__":
    run_command_line(commands, "python -m app")
