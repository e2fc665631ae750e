"""One module for each case, s01 to s13."""
