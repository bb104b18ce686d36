"""Run a study: plan, schedule, record."""
