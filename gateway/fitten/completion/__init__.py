"""Code completion at the cursor."""
