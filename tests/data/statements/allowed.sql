SELECT 1
;;
-- first a comment
SELECT 1
;;
/* c */ SELECT 1
;;
/* a */ -- b
FROM samples
;;
FROM samples LIMIT 3
;;
TABLE samples
;;
VALUES (1, 'a'), (2, 'b')
;;
DESCRIBE segments
;;
DESCRIBE SELECT * FROM samples
;;
SHOW TABLES
;;
SHOW ALL TABLES
;;
SUMMARIZE segments
;;
EXPLAIN SELECT * FROM samples
;;
-- c
EXPLAIN FROM samples
;;
PIVOT segments ON class USING count(*) GROUP BY shard
;;
-- c
PIVOT segments ON class
;;
PIVOT (FROM segments WHERE score > 0.5) ON class USING avg(score) AS mean, max(score) GROUP BY key ORDER BY key LIMIT 5
;;
SELECT * FROM (PIVOT segments ON class USING sum(area) GROUP BY shard)
;;
WITH p AS (PIVOT segments ON class USING sum(area) GROUP BY shard) SELECT * FROM p
;;
PIVOT segments ON kind IN ('thing', 'stuff') USING count(*)
;;
SELECT * FROM segments PIVOT (count(*) FOR kind IN ('thing', 'stuff'))
;;
UNPIVOT (SELECT score, margin FROM segments) ON score, margin INTO NAME n VALUE v
;;
SELECT * FROM (SELECT score, margin FROM segments) UNPIVOT (v FOR n IN (score, margin))
;;
WITH a AS (FROM segments), b AS (FROM a WHERE score > 0.5) SELECT class, count(*) FROM b GROUP BY ALL ORDER BY 2 DESC
;;
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r
;;
SELECT key FROM samples UNION SELECT key FROM failures EXCEPT SELECT key FROM samples INTERSECT SELECT 'a'
;;
SELECT list_transform(list_filter([1, 2, 3], x -> x > 1), x -> x * 2)
;;
SELECT list_transform([1, 2], lambda x: x + 1)
;;
SELECT [x + 1 FOR x IN [1, 2, 3] IF x > 1]
;;
SELECT class, row_number() OVER (PARTITION BY shard ORDER BY score DESC) AS n FROM segments QUALIFY n = 1
;;
SELECT lag(score) OVER w, sum(area) OVER w, ntile(4) OVER w FROM segments WINDOW w AS (PARTITION BY key ORDER BY score ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
;;
SELECT * FROM samples s WHERE EXISTS (FROM segments g WHERE g.key = s.key) AND key IN (SELECT key FROM labels)
;;
SELECT (SELECT max(score) FROM segments) - avg(score) FROM segments
;;
SELECT * FROM samples s, LATERAL (SELECT count(*) FROM segments g WHERE g.key = s.key)
;;
SELECT * EXCLUDE (caption) REPLACE (upper(key) AS key) FROM samples
;;
SELECT COLUMNS('mask_.*') FROM samples
;;
SELECT CASE WHEN score > 0.5 THEN 'a' ELSE 'b' END, score::INT, TRY_CAST(key AS INT), key LIKE 'x%', key ILIKE 'x', key SIMILAR TO 'x', key[1:2], NOT true, score BETWEEN 0 AND 1, score IS NULL, coalesce(key, 'a'), nullif(key, 'a') FROM segments
;;
SELECT {'a': 1, 'b': [1, 2]}.b[1], MAP {'a': 1}['a'], struct_pack(a := 1), INTERVAL 1 DAY, DATE '2026-01-01', (1, 2), [1] || [2]
;;
SELECT shard, count(*) FROM samples GROUP BY ROLLUP (shard) HAVING count(*) > 0 AND grouping(shard) = 0
;;
SELECT count(*) FILTER (status = 'ok'), string_agg(key, ',' ORDER BY key), approx_quantile(width, 0.5), histogram(width) FROM samples
;;
SELECT DISTINCT ON (shard) shard, key FROM samples ORDER BY ALL
;;
SELECT unnest(segments, recursive := true) FROM labels
;;
SELECT s.score FROM labels, unnest(segments) AS t(s)
;;
SELECT * FROM range(3) r(i), generate_series(1, 2) g(j)
;;
SELECT * FROM samples a JOIN samples b USING (key) LEFT JOIN failures f ON f.key = a.key
;;
SELECT * FROM samples SEMI JOIN segments USING (key)
;;
SELECT * FROM samples ASOF JOIN segments g ON samples.key >= g.key
;;
FROM samples SELECT key WHERE status = 'ok'
;;
SELECT * FROM samples TABLESAMPLE 10 PERCENT (bernoulli)
;;
SELECT * FROM samples USING SAMPLE 5
;;
SELECT regexp_extract(caption, '(a+)'), replace(caption, 'a', 'b'), printf('%d', 1), format('{}', 1), strftime(now(), '%Y'), md5(caption), base64(sha256) FROM samples
;;
SELECT caption.upper().reverse() FROM samples
;;
SELECT json_extract('{"a": 1}', '$.a'), '{"a": 1}'::JSON ->> 'a', to_json([1])
;;
SELECT 'COPY (SELECT 1) TO ''x'''
;;
SELECT "key" AS "copy" FROM main.samples; 
;;
SELECT random(), uuid(), current_date, now(), today(), pi()
;;
SELECT key COLLATE NOCASE FROM samples ORDER BY 1
;;
(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 1 OFFSET 1
;;
SELECT 'a'::ENUM('a', 'b'), 1::DECIMAL(10, 2), [1]::INT[], {'a': 1}::STRUCT(a INT), MAP {'a': 1}::MAP(VARCHAR, INT), 1::HUGEINT
;;
SELECT #1 FROM samples
;;
SELECT list_aggregate([1, 2], 'sum'), list_sum([1]), list_sort([2, 1]), array_slice([1, 2], 1, 1), len([1]), flatten([[1]]), list_zip([1], [2])
;;
WITH x AS MATERIALIZED (SELECT 1 AS a), y AS NOT MATERIALIZED (SELECT 2 AS a) SELECT * FROM x, y
;;
SELECT s.* FROM (SELECT unnest(segments) AS s FROM labels)
;;
SELECT url, state FROM ledger WHERE state <> 'done'
;;
SELECT error('stop') FROM samples WHERE false
;;
SELECT sum(score) / count(*) AS mean FROM segments GROUP BY GROUPING SETS ((class), ())
;;
SELECT extract(year FROM DATE '2026-01-01'), date_trunc('day', now()), substring('abc' FROM 1 FOR 2), position('a' IN 'ba')
