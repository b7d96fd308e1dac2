"""`echelon run`: a whole file of jobs in, a whole file of answers out."""
