"""Rental role: a rented host stops itself, and its bill, when nothing has used it for a while."""
