-- COUNT is replaced. Everything is in memory.
PRAGMA temp_store = memory;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, value INTEGER);
WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < COUNT)
INSERT INTO item SELECT i, printf('%08x-%d', i * 2654435761 % 4294967296, i % 97), i % 23, i * 7919 % 100003 FROM number;
CREATE INDEX item_name ON item(name);
CREATE INDEX item_kind ON item(kind, value);
SELECT kind, count(*), sum(value), min(name), max(length(name)) FROM item GROUP BY kind ORDER BY kind;
SELECT count(*), sum(b.value) FROM item a JOIN item b ON b.name = a.name WHERE a.kind < 9;
SELECT substr(name, 1, 2) AS head, group_concat(DISTINCT kind), count(*) FROM item GROUP BY head ORDER BY count(*) DESC, head LIMIT 5;
DELETE FROM item WHERE id % 3 = 0;
UPDATE item SET name = upper(name) || '+' WHERE kind % 2 = 1;
SELECT count(*), sum(length(name)), max(name) FROM (SELECT name FROM item ORDER BY name DESC, value);
