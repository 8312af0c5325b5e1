"""One module a command. At import they know only typer; a body parses, calls one function, and renders."""
