"""A state machine that plays random events against the reconciler, over a model of the API server."""
