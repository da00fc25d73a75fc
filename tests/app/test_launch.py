"""Starting the dashboard."""

import socket
import subprocess
import sys


def test_a_port_in_use_is_one_line_and_status_2():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, "-m", "app", "--port", str(port)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --port: {port} is in use")
    assert done.stderr.count("\n") == 1
    assert not done.stdout
