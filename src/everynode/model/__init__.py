"""The nouns: path, entry, version, record, notice, message, problem, policy."""
