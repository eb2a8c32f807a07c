"""What authors and maintainers run: each module from the root of the repository, by python -m tools.PURPOSE.NAME."""
