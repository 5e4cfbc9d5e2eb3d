"""Attention on one sequence over several processes, dealt out by what tables know in advance."""
