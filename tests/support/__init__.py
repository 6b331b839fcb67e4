"""What tests of several rooms share: small models, servers of our own, samples, processes that are killed."""
