//! Stacks and code addresses through the pipeline: what they are called, and where a stack begins.

use crate::common::*;
use crate::values::text;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use recorder::pipeline::{End, Options, RecordBuilder, Symbol, TraceWriter};

#[test]
fn a_return_address_is_named_after_the_call_before_it_and_other_addresses_as_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("site", "sym"), ("stack", "kstack[4]")]);
    // Functions of 0x100 bytes.
    let symbolizer = |addr: u64| {
        (addr < 0x900).then(|| Symbol {
            name: format!("f{:x}", addr >> 8),
            offset_bytes: (addr & 0xff) as i64,
            module: (addr >> 8 == 3).then(|| "mod".to_owned()),
        })
    };
    let options = Options { symbolizer: Box::new(symbolizer), ..replay_options() };
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    let record = RecordBuilder::new(&layout, 1)
        .set_u64("site", 0x100)
        .set_stack("stack", &[0x200, 0x310, 0x900, 0xfff]);
    writer.feed(0, 0, &record.build()).unwrap();
    writer.close(End::default()).unwrap();
    let symbols = read_table(&dir, "symbols");
    let found: Vec<(u64, String, i64, Option<String>)> = (0..symbols.num_rows())
        .map(|row| {
            let addr = symbols.column(0).as_primitive::<UInt64Type>().value(row);
            let offset = symbols.column(2).as_primitive::<Int64Type>().value(row);
            (addr, text(&symbols, "name", row).unwrap(), offset, text(&symbols, "module", row))
        })
        .collect();
    let named = |addr, name: &str, offset, module: Option<&str>| {
        (addr, name.to_owned(), offset, module.map(str::to_owned))
    };
    let expected = [
        named(0x100, "f1", 0, None),
        named(0x200, "f1", 0x100, None),
        named(0x310, "f3", 0x10, Some("mod")),
        named(0x900, "f8", 0x100, None),
        named(0xfff, "0xfff", 0, None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_kernel_stack_begins_with_what_is_probed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("stack", "kstack[8]"), ("user", "ustack[4]")]);
    let names =
        ["bpf_prog_5e_F", "bpf_prog_on_event", "bpf_trace_run2", "__traceiter_kfree", "bpf_trampoline_1"];
    let symbolizer = move |addr: u64| {
        let name = names.get((addr >> 8) as usize).copied().unwrap_or("kfree");
        Some(Symbol { name: name.to_owned(), offset_bytes: 0, module: None })
    };
    let options = Options { symbolizer: Box::new(symbolizer), ..replay_options() };
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    let stacks: [&[u64]; 4] = [
        &[0x10, 0x110, 0x210, 0x310, 0x910, 0x120, 0x920],
        // The same, seen by another program through a trampoline.
        &[0x20, 0x410, 0x910, 0x120, 0x920],
        &[0x910, 0x120, 0x920],
        // Nothing but our own: better than nothing.
        &[0x10, 0x110],
    ];
    for (i, stack) in stacks.into_iter().enumerate() {
        let record = RecordBuilder::new(&layout, i as u64 + 1).seq(i as u32);
        writer
            .feed(0, 0, &record.set_stack("stack", stack).set_stack("user", &[0x10, 0x910]).build())
            .unwrap();
    }
    writer.close(End::default()).unwrap();
    let rows = read_table(&dir, "tick");
    let ids = rows.column_by_name("stack").unwrap().as_primitive::<Int64Type>().values().to_vec();
    assert_eq!((ids[0], ids[0]), (ids[1], ids[2]));
    let table = read_table(&dir, "stacks");
    let frames = table.column_by_name("frames").unwrap().as_list::<i32>().clone();
    let frames: Vec<Vec<u64>> = (0..table.num_rows())
        .map(|row| frames.value(row).as_primitive::<UInt64Type>().values().to_vec())
        .collect();
    assert_eq!(frames, [vec![0x910, 0x120, 0x920], vec![0x10, 0x110], vec![0x10, 0x910]]);
}
