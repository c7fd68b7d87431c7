"""Who may call, how often, and what they are told; the rest of the service asks here."""
