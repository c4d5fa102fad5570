"""The signatures and helps of the verbs. They import what does the work only when it is to be done: see DESIGN.md."""
