# Asks DuckDB a question about a trace. Arguments: the trace, its event, threads, the query, in which {end_ns} stands for the
# end of the trace. Prints the answer as CSV, and on standard error how long the query took.
import csv
import json
import sys
import time

import duckdb

trace, event, threads, query = sys.argv[1:]
# The log of a closed trace is one commit, which says how the recording ended.
with open(f"{trace}/log.jsonl") as file:
    end_ns = json.loads(file.readline())["status"]["end_ns"]
connection = duckdb.connect()
connection.execute(f"SET threads = {threads}")
# Its bar goes to standard output, where the rows are.
connection.execute("SET enable_progress_bar = false")
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"CREATE VIEW {event} AS SELECT * FROM read_parquet('{trace}/{event}/*.parquet')")
began = time.monotonic()
result = connection.execute(query.replace("{end_ns}", str(end_ns)))
rows = result.fetchall()
print(f"seconds: {time.monotonic() - began}", file=sys.stderr)
writer = csv.writer(sys.stdout, lineterminator="\n")
writer.writerow([column[0] for column in result.description])
writer.writerows(rows)
