"""What is stored and compared: problems, configurations and results. Standard library only."""
