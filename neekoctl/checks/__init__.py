"""Forgetting is a failed build: who is checked, what is measured, what it means, and where people read it."""
