"""Which labels look wrong, and what to do about them."""
