"""Read and manage services without presentation: the command line, the console and the autoscaler use them."""
