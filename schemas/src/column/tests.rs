//! Types and layouts, without a kernel.

use super::*;

#[test]
fn a_type_reads_back_as_it_is_written() {
    for text in [
        "u8",
        "s64",
        "x32",
        "bool",
        "char[16]",
        "string[127]",
        "ustring[255]",
        "ip",
        "sym",
        "hex[8]",
        "bytes[64]",
        "ubytes[64]",
        "argv[510]",
        "u32[4]",
        "s64[63]",
        "enum(a=0,b=7)",
        "enum()",
        "enum(kernel skb_drop_reason)",
        "kstack[32]",
    ] {
        assert_eq!(text.parse::<Type>().unwrap().to_string(), text);
    }
    assert_eq!("string".parse(), Ok(Type::Str(127)));
    assert!(matches!("string[9999]".parse::<Type>(), Err(TypeError::Size(..))));
    assert!(matches!("s64[64]".parse::<Type>(), Err(TypeError::Size(..))), "512 bytes");
    assert!(matches!("mac[2]".parse::<Type>(), Err(TypeError::Unknown(_))));
    assert!(matches!("enum(kernel a b)".parse::<Type>(), Err(TypeError::Unknown(_))));
    assert!(matches!("u9".parse::<Type>(), Err(TypeError::Unknown(_))));
}

#[test]
fn stashed_columns_come_first_and_nothing_overlaps() {
    let column = |name: &str, ty: &str| Column {
        name: name.into(),
        ty: ty.parse().unwrap(),
        unit: None,
        doc: String::new(),
        offset: 0,
        bit: 0,
    };
    let columns =
        vec![column("a", "u8"), column("b", "u64"), column("path", "string[20]"), column("c", "u16")];
    let (layout, stash) = Layout::new("e", "", columns, |name| name == "path");
    assert_eq!(stash, 22);
    assert_eq!(layout.column("path").unwrap().offset, 32);
    let mut spans: Vec<_> = layout.columns.iter().map(|c| (c.offset, c.offset + c.ty.wire_size())).collect();
    spans.sort();
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:?}");
    assert!(layout.columns.iter().all(|c| c.offset % c.ty.wire_align() == 0));
    assert_eq!(layout.record_size % 8, 0);
}
