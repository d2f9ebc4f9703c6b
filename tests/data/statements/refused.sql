WITH x AS (COPY (SELECT 1) TO 'f.parquet' (FORMAT parquet, USE_TMP_FILE false)) FROM x
;;
WITH x AS (COPY (SELECT 1) TO 'f.parquet') PIVOT x ON a
;;
SELECT * FROM (COPY (SELECT 1) TO 'f')
;;
WITH a AS (WITH b AS (COPY (SELECT 1) TO 'f') FROM b) FROM a
;;
SELECT (WITH b AS (COPY (SELECT 1) TO 'f') SELECT count(*) FROM b)
;;
SELECT 1 UNION (WITH b AS (COPY (SELECT 1) TO 'f') FROM b)
;;
WITH x AS (INSERT INTO vocabulary VALUES (1) RETURNING *) FROM x
;;
WITH x AS (UPDATE vocabulary SET name = 'a' RETURNING *) FROM x
;;
WITH x AS (DELETE FROM vocabulary RETURNING *) FROM x
;;
WITH x AS (MERGE INTO vocabulary USING samples ON true WHEN MATCHED THEN DELETE RETURNING *) FROM x
;;
WITH x AS (CREATE TABLE t AS SELECT 1) FROM x
;;
WITH x AS (ATTACH 'x.db') FROM x
;;
WITH x AS (DROP TABLE vocabulary) FROM x
;;
WITH x AS (SET threads = 1) FROM x
;;
COPY samples TO 'f.csv'
;;
COPY vocabulary FROM 'f.csv'
;;
COPY FROM DATABASE memory TO x
;;
-- c
COPY samples TO 'f.csv'
;;
/* c */ COPY (SELECT 1) TO 'f'
;;
EXPLAIN ANALYZE SELECT 1
;;
EXPLAIN (ANALYZE) SELECT 1
;;
EXPLAIN ANALYZE COPY (SELECT 1) TO 'f'
;;
EXPLAIN COPY (SELECT 1) TO 'f'
;;
EXPLAIN WITH x AS (COPY (SELECT 1) TO 'f') FROM x
;;
EXPLAIN (FORMAT json) COPY (SELECT 1) TO 'f'
;;
EXPLAIN EXPLAIN ANALYZE SELECT 1
;;
EXPLAIN INSERT INTO vocabulary VALUES (1)
;;
CREATE TABLE t (a INT)
;;
CREATE TEMP TABLE t AS SELECT 1
;;
CREATE VIEW v AS SELECT 1
;;
CREATE OR REPLACE VIEW segments AS SELECT 1
;;
CREATE MACRO m(a) AS a + 1
;;
CREATE TEMP MACRO m() AS TABLE FROM 'x.csv'
;;
CREATE FUNCTION f(a) AS a
;;
CREATE TYPE t AS ENUM ('a')
;;
CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')
;;
CREATE SEQUENCE s
;;
CREATE SCHEMA s
;;
CREATE INDEX i ON vocabulary (name)
;;
DROP VIEW segments
;;
ALTER TABLE vocabulary ADD COLUMN a INT
;;
TRUNCATE vocabulary
;;
INSERT INTO vocabulary VALUES (1)
;;
UPDATE vocabulary SET name = 'a'
;;
DELETE FROM vocabulary
;;
MERGE INTO vocabulary USING samples ON true WHEN MATCHED THEN DELETE
;;
ATTACH 'x.db'
;;
ATTACH ':memory:' AS x
;;
DETACH memory
;;
USE memory
;;
INSTALL httpfs
;;
FORCE INSTALL spatial FROM community
;;
LOAD httpfs
;;
LOAD 'x.duckdb_extension'
;;
UPDATE EXTENSIONS
;;
SET threads = 1
;;
SET VARIABLE a = 1
;;
SET enable_external_access = true
;;
RESET threads
;;
RESET enable_external_access
;;
PRAGMA version
;;
PRAGMA enable_profiling
;;
PRAGMA database_list
;;
CALL pragma_version()
;;
CALL enable_logging()
;;
CHECKPOINT
;;
FORCE CHECKPOINT
;;
VACUUM
;;
ANALYZE
;;
EXPORT DATABASE 'd'
;;
IMPORT DATABASE 'd'
;;
BEGIN
;;
COMMIT
;;
ROLLBACK
;;
PREPARE p AS SELECT 1
;;
EXECUTE p
;;
DEALLOCATE p
;;
COMMENT ON TABLE vocabulary IS 'x'
;;
SHOW DATABASES
;;
SHOW ALL VARIABLES
;;
SELECT 1; SELECT 2
;;
SELECT 1; COPY (SELECT 1) TO 'f'
;;
COPY (SELECT 1) TO 'f'; SELECT 1
;;
SELECT 1;;SET threads = 1
;;
PIVOT segments ON class; COPY (SELECT 1) TO 'f'
;;
PIVOT segments ON class USING count(*); SELECT 1
;;
PIVOT segments ON class USING getenv('HOME')
;;
PIVOT segments ON class USING current_setting('threads')
;;
PIVOT read_text('/etc/passwd') ON filename
;;
PIVOT "read_text"('/etc/passwd') ON filename
;;
PIVOT read_text/* c */('/etc/passwd') ON filename
;;
PIVOT (SELECT * FROM query('COPY (SELECT 1) TO ''f''')) ON a
;;
PIVOT (FROM system.main.read_csv('/etc/passwd')) ON a
;;
CREATE TABLE t AS PIVOT segments ON class
;;
COPY (PIVOT segments ON class) TO 'f.csv'
;;
INSERT INTO vocabulary PIVOT segments ON class
;;
EXPLAIN ANALYZE PIVOT segments ON class
;;
CREATE VIEW v AS FROM (PIVOT segments ON class)
;;
WITH x AS (INSERT INTO vocabulary VALUES (1) RETURNING *) PIVOT x ON a
;;
SELECT * FROM '/etc/passwd'
;;
SELECT * FROM "/etc/passwd"
;;
SELECT * FROM 'f.parquet'
;;
FROM 'out/labels/*.parquet'
;;
FROM "run.json"
;;
DESCRIBE 'f.csv'
;;
SUMMARIZE 'f.csv'
;;
DESCRIBE FROM 'f.csv'
;;
SHOW 'f.csv'
;;
SELECT * FROM read_text('/etc/passwd')
;;
SELECT * FROM read_blob('/etc/passwd')
;;
SELECT * FROM read_csv('/etc/passwd')
;;
SELECT * FROM read_csv_auto('/etc/passwd')
;;
SELECT * FROM read_json('/etc/passwd')
;;
SELECT * FROM read_json_objects('/etc/passwd')
;;
SELECT * FROM read_ndjson('/etc/passwd')
;;
SELECT * FROM read_parquet('f.parquet')
;;
SELECT * FROM parquet_scan('f.parquet')
;;
SELECT * FROM parquet_metadata('f.parquet')
;;
SELECT * FROM parquet_schema('f.parquet')
;;
SELECT * FROM parquet_kv_metadata('f.parquet')
;;
SELECT * FROM parquet_file_metadata('f.parquet')
;;
SELECT * FROM read_duckdb('x.db')
;;
SELECT * FROM sniff_csv('/etc/passwd')
;;
SELECT * FROM glob('/etc/*')
;;
SELECT * FROM query('SELECT 1')
;;
SELECT * FROM query_table('segments')
;;
SELECT * FROM query_table(['segments'])
;;
SELECT * FROM histogram('f.csv', a)
;;
SELECT * FROM histogram_values('f.csv', a)
;;
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
;;
SELECT * FROM arrow_scan(1, 2, 3)
;;
SELECT * FROM pandas_scan(1)
;;
SELECT * FROM python_map_function(1)
;;
SELECT * FROM seq_scan()
;;
SELECT * FROM duckdb_settings()
;;
SELECT * FROM duckdb_secrets()
;;
SELECT * FROM duckdb_extensions()
;;
SELECT * FROM duckdb_logs()
;;
SELECT * FROM duckdb_temporary_files()
;;
SELECT * FROM which_secret('s3://a', 's3')
;;
SELECT * FROM pragma_table_info('vocabulary')
;;
SELECT * FROM pragma_storage_info('vocabulary')
;;
SELECT * FROM enable_logging()
;;
SELECT * FROM checkpoint()
;;
SELECT * FROM repeat('x', 10)
;;
SELECT * FROM test_all_types()
;;
SELECT * FROM samples, read_text('/etc/' || samples.key)
;;
SELECT * FROM samples WHERE key IN (SELECT content FROM read_text('/etc/passwd'))
;;
SELECT list_transform([1], lambda x: getenv('HOME'))
;;
SELECT [getenv(x) FOR x IN ['HOME']]
;;
SELECT getenv('HOME')
;;
SELECT current_setting('temp_directory')
;;
SELECT getvariable('x')
;;
SELECT nextval('s')
;;
SELECT setval('s', 1)
;;
SELECT write_log('x')
;;
SELECT sleep_ms(1000000)
;;
SELECT pg_sleep(100)
;;
SELECT json_serialize_plan('SELECT * FROM read_text(''/etc/passwd'')')
;;
SELECT '/etc/passwd'.read_text()
;;
SELECT maskmill_images(1)
;;
FROM maskmill.failed_shards
;;
FROM maskmill_rows_0
;;
FROM information_schema.tables
;;
FROM duckdb_settings
;;
FROM sqlite_master
;;
FROM pg_catalog.pg_class
;;
SELECT $1
;;
SELECT ?
;;
SELECT $a
;;
SELECT count(*) OVER (ORDER BY getenv('HOME'))
;;
SELECT * FROM samples ORDER BY getenv('HOME')
;;
SELECT * FROM samples LIMIT getenv('HOME')
;;
SELECT 1 GROUP BY getenv('HOME')
;;
VALUES (getenv('HOME'))
;;
SELECT * FROM samples JOIN segments ON getenv('HOME') = 'a'
;;
SELECT * REPLACE (getenv('HOME') AS key) FROM samples
;;
SELECT COLUMNS(c -> getenv(c) = 'x') FROM samples
;;
SELECT sum(1 ORDER BY getenv('HOME'))
;;
SELECT sum(1) FILTER (getenv('HOME') = 'x')
;;
SELECT CASE WHEN getenv('A') = 'b' THEN 1 END
;;
SELECT 1 WHERE 1 = ANY (SELECT getenv('A'))
;;
SELECT {'a': getenv('A')}
;;
FROM read_csv('x') SELECT 1
;;
SELEC
;;
;
;;
SELECT nothing FROM
;;
PIVOT sqlite_master ON name
;;
PIVOT pragma_database_list ON name
;;
PIVOT maskmill_rows_0 ON key
;;
PIVOT (SELECT * FROM samples, information_schema.tables) ON key
