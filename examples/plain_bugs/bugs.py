"""Twelve functions, each with one plain bug; `right.py` has them without."""

import json


def average(values):
    """Return the mean of some numbers."""
    total = 0
    for value in values:
        total += value
    return total / (len(values) - 1)


def is_leap(year):
    """Return whether a year is a leap year."""
    return year % 4 == 0 and year % 100 != 0 and year % 400 == 0


def find_last(items, wanted):
    """Return the last index of an item, or -1."""
    for i in range(len(items) - 1, 0, -1):
        if items[i] == wanted:
            return i
    return -1


def withdraw(account, amount):
    """Take money from an account, which may not go below zero."""
    if amount > account["balance"]:
        raise ValueError("not enough money")
    account["balance"] += amount
    return account["balance"]


def clamp(value, low, high):
    """Keep a value between two bounds."""
    return min(low, max(value, high))


def binary_search(items, wanted):
    """Return the index of an item in a sorted list, or -1."""
    low, high = 0, len(items) - 1
    while low < high:
        middle = (low + high) // 2
        if items[middle] == wanted:
            return middle
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return -1


def read_settings(path):
    """Read settings from a JSON file; without one, defaults."""
    try:
        with open(path, "w") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def count_words(text):
    """Count how often each word occurs."""
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 1) + 1
    return counts


def is_palindrome(text):
    """Return whether a text reads the same backwards, letters alone."""
    letters = [c.lower() for c in text if c.isalpha()]
    return letters == letters[:-1]


def distance(a, b):
    """Return the distance between two points."""
    return ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 2


def merge(first, second):
    """Merge two sorted lists."""
    merged, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if first[i] <= second[j]:
            merged.append(first[i])
            i += 1
        else:
            merged.append(second[j])
            j += 1
    return merged + first[i:] + second[i:]


def factorial(n):
    """Return n!."""
    result = 0
    for i in range(1, n + 1):
        result *= i
    return result
