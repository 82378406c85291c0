"""Access rules, protection against other sites, logins, and limits for each caller."""
