# Makes a large trace: copies of a recorded one, of whose event the rows follow themselves again and again.
# Arguments: the recorded trace, its event, the trace to make, rows at least.
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEGMENT_ROWS = 1 << 20
ROW_GROUP_ROWS = 1 << 18

source, event, target, rows = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
shutil.rmtree(target, ignore_errors=True)
shutil.copytree(source, target)
[segment] = (target / event).iterdir()
once = pq.read_table(segment)
segment.unlink()
at = once.schema.get_field_index("ts")
kind = once.schema.field("ts").type
ts = once.column("ts").cast(pa.int64())
span_ns = pc.max(ts).as_py() - pc.min(ts).as_py() + 1
copies = -(-rows // len(once))
per_segment = max(1, SEGMENT_ROWS // len(once))
for number, first in enumerate(range(0, copies, per_segment)):
    later = [
        # The last copy is where the recording was, so that the trace ends after all of them.
        once.set_column(at, once.schema.field("ts"), pc.add(ts, (copy - copies + 1) * span_ns).cast(kind))
        for copy in range(first, min(first + per_segment, copies))
    ]
    pq.write_table(
        pa.concat_tables(later), target / event / f"{number:06}.parquet", compression="zstd", row_group_size=ROW_GROUP_ROWS
    )
print(copies * len(once))
