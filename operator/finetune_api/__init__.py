"""The contract of finetune-operator: the resource that people write and what operator and trainer say to each other.

It imports nothing but pydantic, so that every other part can import it.
"""
