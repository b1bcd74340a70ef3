"""Files that hold images of one kind: a file and a row of the table of formats each."""
