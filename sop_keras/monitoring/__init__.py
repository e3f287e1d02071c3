"""What a training finds out about its labels, shown while it goes on."""
