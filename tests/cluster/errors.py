"""The errors of the test cluster, one tree; nothing here raises them."""


class ClusterError(Exception):
    """Anything that keeps a test cluster from working; the message says what to do about it."""


class MissingToolError(ClusterError):
    """A program that the cluster is made of is not on this machine and could not be made."""


class ComponentError(ClusterError):
    """A component of the cluster died or never became ready; carries the tail of its log."""
