"""Code that several tests put bugs into."""

MEAN = '''\
def mean(values, default=None):
    """Return the mean."""
    total = 0
    count = 0
    for value in values:
        if value is None:
            continue
        total += value
        count += 1
    if count == 0:
        return default
    return total / count
'''
