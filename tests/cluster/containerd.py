"""One node's container runtime: its configuration, its images; knows no kubelet.

Its store outlives the cluster, because unpacking a trainer image of gigabytes for every cluster takes minutes.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import image_store, versions
from tests.cluster.errors import ClusterError
from tests.cluster.locks import locked
from tests.cluster.machine import Machine, cni_directory
from tests.cluster.node_images import NodeImages
from tests.cluster.process import Process

PAUSE_IMAGE = "localhost/finetune-pause:1"

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  # Where CAP_SYS_RESOURCE is missing, lowering the score fails and sandboxes die with
  # "can't get final child's PID from pipe".
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_binaries}"
  conf_dir = "{cni_configuration}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""

_NETWORK = """\
{{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "bridge",
      "bridge": "cni{node}",
      "isDefaultGateway": true,
      "hairpinMode": true,
      "ipam": {{"type": "host-local", "dataDir": "/run/cni{node}", "ranges": [[{{"subnet": "{subnet}"}}]]}}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"""


class Containerd:
    """The runtime of one node (counted from 1), inside a machine."""

    def __init__(self, machine: Machine, directory: Path, node: int, root: Path) -> None:
        self.images = NodeImages(machine.inside, node)
        self.root = root
        own = directory / f"containerd-{node}"
        (own / "cni").mkdir(parents=True, exist_ok=True)
        (own / "cni" / "10-pods.conflist").write_text(_NETWORK.format(node=node, subnet=machine.subnet(node)))
        config = own / "config.toml"
        config.write_text(
            _CONFIG.format(
                root=root,
                state=f"/run/containerd{node}",
                socket=self.images.socket,
                pause=PAUSE_IMAGE,
                cni_binaries=cni_directory(),
                cni_configuration=own / "cni",
            )
        )
        command = ["containerd", "--config", str(config)]
        self.process: Process = machine.process(f"containerd-{node}", command, self._answers)

    @classmethod
    @contextlib.contextmanager
    def start(
        cls, machine: Machine, directory: Path, node: int, like: "Containerd | None" = None
    ) -> Iterator["Containerd"]:
        """Start the runtime of a node, and stop it at the end of the block.

        Args:
            like: the runtime of another node, without containers yet, whose images this one takes over.

        Raises:
            ClusterError: it died, or another cluster has the store.
        """
        root = versions.cache_directory() / "containerd" / f"node-{node}"
        busy = f"another cluster with a node uses {root}: run `down` on it, or set FINETUNE_CACHE"
        with locked(root / "lock", busy):
            runtime = cls(machine, directory, node, root)
            if like and image_store.lacks_much(root, like.root):
                like.process.stop()
                image_store.clone(like.root, root)
                like.process.start()
            try:
                runtime._start()
                yield runtime
            finally:
                runtime.process.stop()

    def _start(self) -> None:
        """Start without the containers that an earlier cluster left in the store."""
        self.process.start()
        left = self.images.ctr("containers", "list", "--quiet").split()
        if left:
            self.images.ctr("containers", "delete", *left)
            self.process.stop()
            self.process.start()

    def _answers(self) -> bool:
        try:
            self.images.ctr("version")
        except ClusterError:
            return False
        return True
