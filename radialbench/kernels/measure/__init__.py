"""How a call is timed, checked and watched."""
