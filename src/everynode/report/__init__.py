"""Status, audit, alarms."""
