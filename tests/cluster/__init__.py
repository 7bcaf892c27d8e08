"""A real Kubernetes for tests and for developers by hand; holds no test itself.

README.md in this directory says how to use it. The pytest fixtures are in `tests.cluster.fixtures`.
"""
