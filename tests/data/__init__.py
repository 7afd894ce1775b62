"""Tests of jointspace.data."""
