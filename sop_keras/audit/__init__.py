"""What stored features tell of the data: wrong labels, and more than labels."""
