"""replace.py SECONDS: objects with strings, lists and dictionaries of their own, replaced at random. Prints how many in each second."""
import random
import sys
import time

COUNT = 60000


class Item:
	def __init__(self, number):
		self.name = f'item {number * 2654435761 % 4294967296:08x}'
		self.words = [f'{self.name} {i}' for i in range(number % 8)]
		self.attributes = {word: number for word in self.words}
		self.text = 'x' * (number * number % 900)


def main(seconds):
	items, number = [Item(number) for number in range(COUNT)], COUNT
	end = time.monotonic()
	for _ in range(seconds):
		end, before = end + 1, number
		while time.monotonic() < end:
			for _ in range(100):
				items[random.randrange(COUNT)] = Item(number)
				number += 1
		print(number - before, flush=True)


main(int(sys.argv[1]))
