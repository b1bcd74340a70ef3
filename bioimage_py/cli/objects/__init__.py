"""Commands that make, mend, score and draw objects; a file is called as its command."""
