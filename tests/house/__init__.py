"""The house rules as tests: layers, lengths, words, linters, commits, documents."""
