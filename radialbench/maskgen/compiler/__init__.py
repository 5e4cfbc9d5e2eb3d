"""The compiler: from a mask and a grid to the blocks a kernel has to visit."""
