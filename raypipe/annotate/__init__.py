"""Blind studies with people: questions made from a run, the app that asks them, the answers."""
