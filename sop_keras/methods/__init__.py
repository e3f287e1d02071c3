"""The methods, a file and a record each."""
