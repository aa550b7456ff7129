"""The audit log: who did what and what policy refused, append-only and chained by hash (`docs/audit.md`)."""
