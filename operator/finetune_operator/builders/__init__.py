"""Documents of the objects that an attempt needs, one kind a file. Pure: nothing here talks to Kubernetes."""
