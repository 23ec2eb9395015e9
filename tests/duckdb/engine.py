"""Runs golden queries in DuckDB: one JSON request per line on stdin, one JSON answer per line on stdout.

Requests: {"open": {TABLE: [[HOST or null, [FILE, ...]], ...]}, "functions": SQL} and {"sql": SQL}.
Answers: {"rows": [[TEXT or null, ...], ...], "types": "TIR..."} or {"error": TEXT}.
"""

import json
import sys

import duckdb


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def open_trace(tables, functions):
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for table, parts in tables.items():
        selects = []
        for host, files in parts:
            column = "" if host is None else f", {quote(host)} AS host"
            listed = ", ".join(quote(f) for f in files)
            selects.append(f"SELECT *{column} FROM read_parquet([{listed}], union_by_name = true)")
        con.execute(f'CREATE VIEW "{table}" AS ' + " UNION ALL BY NAME ".join(selects))
    code = "\n".join(line for line in functions.splitlines() if not line.startswith("--"))
    for statement in code.split(";"):
        if statement.strip():
            con.execute(statement)
    return con


def text(value):
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return str(value)


def query(con, sql):
    relation = con.sql(sql)
    columns, types = [], ""
    for name, kind in zip(relation.columns, map(str, relation.types)):
        column = '"' + name.replace('"', '""') + '"'
        if kind.startswith("TIMESTAMP"):
            # Python's datetime has no nanoseconds.
            second = f"strftime(make_timestamp(epoch_ns({column}) // 1000), '%Y-%m-%dT%H:%M:%S.')"
            column = f"{second} || lpad(CAST(epoch_ns({column}) % 1000000000 AS VARCHAR), 9, '0') || 'Z'"
            types += "T"
        elif "INT" in kind:
            types += "I"
        elif kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
            types += "R"
        else:
            types += "T"
        columns.append(column)
    rows = relation.project(", ".join(columns)).fetchall() if columns else []
    return {"rows": [[text(v) for v in row] for row in rows], "types": types}


def main():
    con = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "open" in request:
                con = open_trace(request["open"], request["functions"])
                answer = {"rows": [], "types": ""}
            else:
                answer = query(con, request["sql"])
        except Exception as error:  # every failure is an answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
