"""The rules across fields: each is one object, given to the CRD as CEL and to the models as Python (catalogue.py)."""
