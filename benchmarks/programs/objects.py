"""objects.py COUNT: objects that refer to each other, found by name, sorted, grouped and dropped."""
import sys


class Item:
	def __init__(self, number):
		self.name = f'item {number * 2654435761 % 4294967296:08x}'
		self.words = self.name.split()
		self.friends = []
		self.number = number


def main(count):
	items = [Item(number) for number in range(count)]
	by_name = {item.name: item for item in items}
	for item in items:
		item.friends = [by_name[items[item.number * factor % count].name] for factor in (3, 7, 31)]
	groups = {}
	for item in sorted(items, key=lambda item: item.name):
		groups.setdefault(item.words[1][:2], []).append((item.number, len(item.friends), item.name.upper()))
	total = sum(friend.number for item in items for friend in item.friends)
	print(len(groups), total, max(groups['7f'])[0])
	while len(items) > count // 10:  # a tenth stays
		del items[::2]
	text = ' '.join(item.name for item in items)
	print(len(text), len(set(text)), sum(map(len, groups.values())))


main(int(sys.argv[1]))
