"""One file a family of rows. ROWS in it maps a row's name to the function that measures it; no other list."""
