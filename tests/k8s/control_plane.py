"""A control plane on loopback: etcd, the API server and the controllers; no node of its own."""

import os
import secrets
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import yaml
from binaries import program
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

START_SECONDS = 60


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class ControlPlane:
    """A context manager; ends its processes in the end.

    Attributes:
        kubeconfig: a file that leads to it.
        folder: where its data, certificates and logs are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "ControlPlane":
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> None:
        etcd, peer, port = free_port(), free_port(), free_port()
        self._run(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        key = self.folder / "accounts.key"
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        token = secrets.token_hex(16)
        (self.folder / "tokens").write_text(f'{token},tester,1,"system:masters"\n')
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder}/certificates",
            "--service-cluster-ip-range=10.250.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.folder}/tokens",
            "--authorization-mode=AlwaysAllow",
            "--disable-admission-plugins=ServiceAccount",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._write_kubeconfig(port, token)
        self._wait(port, token)
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            f"--service-account-private-key-file={key}",
            # The node is a stand-in that no controller needs to look after.
            "--controllers=*,-nodelifecycle,-nodeipam,-attachdetach,-cloud-node-lifecycle",
            "--port=0",
            "--secure-port=0",
        )

    def _run(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [program(name), *arguments],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    env={**os.environ, "GOMAXPROCS": "2"},
                    start_new_session=True,
                )
            )

    def _write_kubeconfig(self, port: int, token: str) -> None:
        certificate = f"{self.folder}/certificates/apiserver.crt"
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": certificate}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "tester", "user": {"token": token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "tester"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def _wait(self, port: int, token: str) -> None:
        asked = urllib.request.Request(
            f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {token}"}
        )
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(asked, context=trusting, timeout=5):
                    return
            except OSError:
                if time.monotonic() > deadline or self._processes[-1].poll() is not None:
                    raise
                time.sleep(0.2)
