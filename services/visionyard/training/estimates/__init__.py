"""How long trainings take, and what they cost: measured on machines, carried between them, and estimated from both."""
