"""Builders of the objects that tests need; shared by all of them."""
