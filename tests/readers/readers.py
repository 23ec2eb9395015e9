"""What another reader of Parquet finds in the files of one table.

Arguments: READER FILE...; answers with one line of JSON:
{"version": TEXT, "rows": N, "columns": {NAME: [TYPE, NOT_NULL, MIN, MAX, ROWS_WITH_MAX]}}
TYPE is int, time, text or other; MIN and MAX are numbers (times: nanoseconds since 1970) or text, null for other types.
"""

import json
import sys


def of_duckdb(files):
    import duckdb

    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    con.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet([{listed}])")

    def one(sql):
        return con.execute(sql).fetchall()[0]

    columns = {}
    for name, kind, *_ in con.execute("DESCRIBE t").fetchall():
        quoted = '"' + name.replace('"', '""') + '"'
        if kind.endswith("INT") or kind.endswith("INTEGER"):
            kind, value = "int", quoted
        elif kind.startswith("TIMESTAMP"):
            # 1.1 knows this only of a time without a zone, and in microseconds; both are UTC here.
            time = quoted if kind.endswith("_NS") else f"CAST({quoted} AS TIMESTAMP)"
            kind, value = "time", f"epoch_ns({time})"
        elif kind == "VARCHAR":
            kind, value = "text", quoted
        else:
            columns[name] = ["other", one(f"SELECT count({quoted}) FROM t")[0], None, None, 0]
            continue
        present, least, most = one(f"SELECT count({quoted}), min({value}), max({value}) FROM t")
        at_most = one(f"SELECT count(*) FROM t WHERE {value} = (SELECT max({value}) FROM t)")[0]
        columns[name] = [kind, present, least, most, at_most]
    return duckdb.__version__, one("SELECT count(*) FROM t")[0], columns


def of_pyarrow(files):
    import pyarrow
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    table = ds.dataset(files, format="parquet").to_table()
    columns = {}
    for name in table.column_names:
        column = table[name]
        kind = column.type
        if pyarrow.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        present = len(column) - column.null_count
        if pyarrow.types.is_timestamp(kind):
            kind, column = "time", column.cast(pyarrow.int64())
        elif pyarrow.types.is_integer(kind):
            kind = "int"
        elif pyarrow.types.is_string(kind):
            kind = "text"
        else:
            columns[name] = ["other", present, None, None, 0]
            continue
        bounds = pc.min_max(column).as_py()
        most = bounds["max"]
        at_most = pc.sum(pc.equal(column, pyarrow.scalar(most, column.type))).as_py() if present else 0
        columns[name] = [kind, present, bounds["min"], most, at_most]
    return pyarrow.__version__, table.num_rows, columns


def of_polars(files):
    import polars as pl

    frame = pl.scan_parquet(files).collect()
    columns = {}
    for name, kind in frame.schema.items():
        column = frame[name]
        present = len(column) - column.null_count()
        if kind == pl.Datetime:
            kind, column = "time", column.dt.epoch("ns")
        elif kind.is_integer():
            kind = "int"
        elif kind in (pl.String, pl.Categorical) or isinstance(kind, pl.Enum):
            kind, column = "text", column.cast(pl.String)
        else:
            columns[name] = ["other", present, None, None, 0]
            continue
        most = column.max()
        columns[name] = [kind, present, column.min(), most, int((column == most).sum()) if present else 0]
    return pl.__version__, len(frame), columns


def main():
    reader, files = sys.argv[1], sys.argv[2:]
    version, rows, columns = {"duckdb": of_duckdb, "pyarrow": of_pyarrow, "polars": of_polars}[reader](files)
    print(json.dumps({"version": version, "rows": rows, "columns": columns}))


main()
