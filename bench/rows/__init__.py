"""One file a family of rows. ROWS in it maps a row's name to the function that measures it; no other list. LONG, where
it is there, names those that run only when they are named or with `--full`."""
