"""A LaunchPad and a job store on a server of its own, as a cluster would have them."""

import subprocess
import sys

import pytest
from cluster import HERE, Cluster, kill_all


@pytest.fixture
def cluster(tmp_path):
    pytest.importorskip("fireworks", reason="needs the fireworks extra")
    server = subprocess.Popen(
        [sys.executable, HERE / "mongo_server.py"], stdout=subprocess.PIPE, text=True
    )
    cluster = Cluster(tmp_path, int(server.stdout.readline()))
    cluster.launchpad.reset(None, require_password=False)
    yield cluster
    for process in cluster.processes:
        kill_all(process)
    kill_all(server)
