"""What the scripted models say."""

RIVER_ANSWER = """\
A river finds the sea by a rule that is **local** and *never* looks ahead: at each place the water \
goes where the ground falls most.

1. Rain gathers in hollows.
2. A hollow fills until it **overflows** at its lowest edge.
3. The overflow cuts that edge down, and the next flood finds it lower still.

> The map of a river is a memory of old floods.

| river | length, km | discharge, m³/s |
|:------|-----------:|----------------:|
| Rhône | 813 | 1,710 |
| Rhine | 1,233 | 2,900 |
| Danube | 2,850 | 7,130 |

See the [catchment page](https://en.wikipedia.org/wiki/Drainage_basin) or <https://example.com/rivers>.
"""

CODE_ANSWER = '''\
### A binary search

It halves what is left with each look:

```python
def find(values: list[int], wanted: int) -> int | None:
    """The place of `wanted` in sorted values."""
    low, high = 0, len(values)
    while low < high:  # what is left is [low, high)
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(values) and values[low] == wanted else None
```

In a shell, `sort -n numbers.txt | look 42` does something alike. Tasks:

- [x] write it
- [ ] test the *empty* list

```
plain text, no colours
```
'''
