"""Checks beside the tests: Colab's way of running, versions of packages, repetitions."""
