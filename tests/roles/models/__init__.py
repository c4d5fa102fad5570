"""Tests of the models role."""
