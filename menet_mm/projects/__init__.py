"""A small project for one's own data: a recipe that fits it, a config, lists of pictures."""
