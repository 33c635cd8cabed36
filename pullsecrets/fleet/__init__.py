"""The stacks of a project as one list, and what is done to several of them."""
