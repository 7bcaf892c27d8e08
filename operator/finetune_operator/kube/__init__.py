"""The only place that talks to Kubernetes: a small Protocol, the real client, and the local one."""
