"""documents.py FILE ROUNDS: a JSON file read, changed and written several times."""
import json
import sys

for round in range(int(sys.argv[2])):
	with open(sys.argv[1]) as file:
		records = json.load(file)
	for record in records:
		record['tags'] = sorted(set(record['tags'] + [record['kind']]))
		record['label'] = '/'.join(record['tags'])
	records.sort(key=lambda record: (record['kind'], -record['value'], record['id']))
	text = json.dumps(records, indent=1)
	print(round, len(records), len(text), records[0]['label'], sum(record['value'] for record in records))
