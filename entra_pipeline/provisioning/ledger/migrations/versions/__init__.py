"""One module a version of the schema; none is ever changed once released."""
