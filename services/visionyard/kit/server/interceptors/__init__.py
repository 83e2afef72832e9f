"""What happens around every call, one module each; :mod:`.chain` puts them together for all four RPC shapes."""
