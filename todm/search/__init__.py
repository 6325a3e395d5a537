"""Search over the subnets of a supernet."""
