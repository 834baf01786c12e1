"""What a person is told: status and its verdict, and the journal of what happened."""
