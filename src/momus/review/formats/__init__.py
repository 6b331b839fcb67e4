"""What a review is written as, a file for each form: for people, for programs, for the hosts of code."""
