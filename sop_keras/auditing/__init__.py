"""Wrong labels from stored features: a head, its scores, and what else they tell."""
