"""`python -m radialbench`: the command line."""

from radialbench.cli import main

if __name__ == "__main__":
    main()
