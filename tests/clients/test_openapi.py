"""The document of the HTTP interface, and the server that serves it: requests made up from the one, answers of the other."""

import base64
import re
import subprocess
import sys

import pytest
from conftest import HOST, IS_STERNA, PASSWORD, TestServer, free_port

pytestmark = pytest.mark.skipif(not IS_STERNA, reason="only Sterna has HTTP")

# The stream of events has no end.
WITHOUT_END = "/v1/events"
EXAMPLES = 40


def test_requests_made_up_from_the_document_are_answered_as_it_says(tmp_path):
    http = free_port()
    server = TestServer(tmp_path, ["--http-port", str(http)])
    server.start()
    login = base64.b64encode(f"default:{PASSWORD}".encode()).decode()
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{HOST}:{http}/v1/openapi.json"]
    command += ["--exclude-path", WITHOUT_END, "--header", f"Authorization: Basic {login}"]
    command += ["--seed", "1", "--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-color"]
    try:
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    finally:
        server.close()
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"Selected: 4/5\s+Tested: 4\b", run.stdout), run.stdout
