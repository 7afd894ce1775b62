"""Tests: the tree mirrors src/jointspace."""
