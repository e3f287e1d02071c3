"""Wrong labels from stored features, in minutes: a head, its scores, and what they say."""
