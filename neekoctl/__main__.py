"""`python -m neekoctl`."""

from neekoctl.cli import main

main()
