"""Does what a comment says include what is known to be wrong?"""
