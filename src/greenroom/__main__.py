"""`python -m greenroom` is the same as the `greenroom` command."""

from greenroom.actors.host.command_line import main

if __name__ == "__main__":
    main()
