"""Export of subnets to the formats that devices run, with parity checked."""
