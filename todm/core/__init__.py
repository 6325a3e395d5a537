"""Values, artifacts, errors and cost arithmetic; imports neither torch nor numpy."""
