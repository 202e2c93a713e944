"""The `autobatch` command."""
