"""Who may call, how often, and what they are told; the rest of the service asks here."""

# Each file is imported by itself: a client needs no certificates of servers, and the command line
# no gRPC to show its help.
__all__: list[str] = []
