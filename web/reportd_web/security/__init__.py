"""Who may call, what other sites may not do, and how much one caller may use."""
