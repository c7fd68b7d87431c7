"""Offpath as a service: the gRPC server, its clients and the command line."""
